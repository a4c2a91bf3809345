"""Accepting connections with their first bytes, for the front to answer before the loop makes a transport of them.

Much of what a short connection costs is its transport: registered with the kernel, known to the loop, closed in turns.
Here the kernel holds connections back until their first bytes have come (TCP_DEFER_ACCEPT in tcp(7); silent ones come a
second later), and a front with a `greet` looks at the socket first. What it does not end there is handed to the loop
(`hand_over`) and goes the ordinary way. Used by `listen.listener` where clients speak first and in the clear: HTTP over
TCP, without TLS or a PROXY header.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Protocol, cast

from npserver.listen.acceptor import Acceptor
from npserver.net.step_coroutine import Opening

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.listen.listener import LiveListener
    from npserver.net.poller import Poller

log = logging.getLogger("npserver.server")

DEFER_S = 1  # silent connections are accepted too after that time; less is not possible


class Greeting(Protocol):
    """A front that looks at connections first."""

    def greet(self, greeter: Greeter, caller: socket.SocketType, peer: object) -> None:
        """Answer and close, or hand over, as `Acceptor._take` has it. Never raises."""


class Greeter(Acceptor):
    """Accepts on one socket, which it closes in the end."""

    __slots__ = ()

    def __init__(self, live: LiveListener, poller: Poller, sock: socket.socket) -> None:
        super().__init__(live, poller, sock)
        self._defer(DEFER_S)

    def close(self) -> None:
        """Accept no more."""
        self._defer(0)  # others may go on with the socket
        super().close()

    def hand_over(
        self, caller: socket.SocketType, protocol: asyncio.Protocol, then: Callable[[], None] | None = None
    ) -> None:
        """Make a transport of the connection; `then` is called when `protocol` has it."""
        sock = socket.socket(self._family, socket.SOCK_STREAM, 0, caller.detach())

        def done(error: Exception | None) -> None:
            if error is not None:
                log.debug("%s: connection lost as soon as accepted: %s", self.live.listener.name, error)
                sock.close()
            elif then is not None:
                then()

        Opening(self.live.context.loop.connect_accepted_socket(lambda: protocol, sock), done).start()

    def _take(self, caller: socket.SocketType, peer: object) -> None:
        # hot: static-connect
        cast("Greeting", self.live.front).greet(self, caller, peer)

    def _defer(self, wait_s: int) -> None:
        if hasattr(socket, "TCP_DEFER_ACCEPT"):
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, wait_s)
