"""Accept TCP connections with TCP_DEFER_ACCEPT and offer the first bytes to the front before a transport exists.

A transport is much of what a short connection costs: registered with the kernel, known to the event loop, closed in two
steps. Here the kernel holds connections back until their first bytes have come (tcp(7); silent ones come a second
later), and the front looks at the socket first. What it does not answer there it hands to the event loop. Used by
`listen.live_listener` where clients speak first and in the clear: HTTP over TCP, without TLS or a PROXY header."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Protocol, cast

from npserver.listen.acceptor import Acceptor
from npserver.net.step_coroutine import Opening

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.net.poller import Poller
    from npserver.runtime.front import Live

log = logging.getLogger("npserver.server")

DEFER_S = 1  # silent connections are accepted too after that time; less is not possible


class FirstBytesFront(Protocol):
    """A front that looks at connections before they have a transport."""

    wants_first_bytes: bool

    def try_answer(self, acceptor: DeferredAcceptor, sock: socket.SocketType, peer: object) -> None:
        """Answer and close, or hand over, as `listen.acceptor.Acceptor` describes. Never raises."""


class DeferredAcceptor(Acceptor):
    """Accepts on one socket, which it closes in the end."""

    __slots__ = ()

    def __init__(self, live: Live, poller: Poller, sock: socket.socket) -> None:
        super().__init__(live, poller, sock)
        self._defer(DEFER_S)

    def close(self) -> None:
        """Accept no more."""
        self._defer(0)  # others may go on with the socket
        super().close()

    def hand_to_event_loop(
        self, sock: socket.SocketType, protocol: asyncio.Protocol, then: Callable[[], None] | None = None
    ) -> None:
        """Make a transport of the connection; `then` is called when `protocol` has it."""
        owned = socket.socket(self._family, socket.SOCK_STREAM, 0, sock.detach())

        def done(error: Exception | None) -> None:
            if error is not None:
                log.debug("%s: connection lost as soon as accepted: %s", self.live.listener.name, error)
                owned.close()
            elif then is not None:
                then()

        Opening(self.live.context.loop.connect_accepted_socket(lambda: protocol, owned), done).start()

    def _take(self, sock: socket.SocketType, peer: object) -> None:
        # hot: static-connect
        cast("FirstBytesFront", self.live.front).try_answer(self, sock, peer)

    def _defer(self, wait_s: int) -> None:
        if hasattr(socket, "TCP_DEFER_ACCEPT"):
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, wait_s)
