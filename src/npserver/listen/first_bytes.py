"""Accept TCP connections with TCP_DEFER_ACCEPT and offer the first bytes to the front before a transport exists.

Creating and closing a transport is a large part of the cost of a short connection. Here the kernel holds connections
back until their first bytes arrive (tcp(7); a second at most), and the front may respond directly on the socket. Other
connections it passes to the event loop. Used by `listen.live_listener` for HTTP over TCP without TLS and without the
PROXY protocol: clients speak first, and in plaintext.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Protocol, cast

from npserver.listen.acceptor import Acceptor
from npserver.net.step_coroutine import CoroutineStepper

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.net.poller import Poller
    from npserver.runtime.front import Live

log = logging.getLogger("npserver.server")

DEFER_S = 1  # after that time connections without data are accepted too; 1 is the least possible


class FirstBytesFront(Protocol):
    """A front that can respond on a socket before a transport exists."""

    wants_first_bytes: bool

    def try_answer(self, acceptor: DeferredAcceptor, sock: socket.SocketType, peer: object) -> None:
        """Respond and close, or call `acceptor.hand_to_event_loop`; see `listen.acceptor.Acceptor`. Must not raise."""


class DeferredAcceptor(Acceptor):
    """Accepts on one TCP socket; the front gets each connection with its first bytes."""

    __slots__ = ()

    def __init__(self, live: Live, poller: Poller, sock: socket.socket) -> None:
        super().__init__(live, poller, sock)
        self._defer(DEFER_S)

    def close(self) -> None:
        """Stop accepting, and close the socket."""
        self._defer(0)  # the socket may be in use by other processes
        super().close()

    def hand_to_event_loop(
        self, sock: socket.SocketType, protocol: asyncio.Protocol, then: Callable[[], None] | None = None
    ) -> None:
        """Create a transport for the connection; `then` is called after `protocol.connection_made`."""
        owned = socket.socket(self._family, socket.SOCK_STREAM, 0, sock.detach())

        def done(error: Exception | None) -> None:
            if error is not None:
                log.debug("%s: connection closed while it was accepted: %s", self.live.listener.name, error)
                owned.close()
            elif then is not None:
                then()

        CoroutineStepper(self.live.context.loop.connect_accepted_socket(lambda: protocol, owned), done).start()

    def _take(self, sock: socket.SocketType, peer: object) -> None:
        # hot: static-connect
        cast("FirstBytesFront", self.live.front).try_answer(self, sock, peer)

    def _defer(self, wait_s: int) -> None:
        if hasattr(socket, "TCP_DEFER_ACCEPT"):
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, wait_s)
