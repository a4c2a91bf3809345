"""Accepting connections on one socket with `net.poller`; used by `listen.listener` where it is there.

`StreamAcceptor` makes `SocketStream`s of them, for all but HTTP and TLS; `listen.first_bytes` has the one for HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from npserver.net.socket_stream import SocketStream

if TYPE_CHECKING:
    from npserver.net.poller import Poller
    from npserver.runtime.front import Live

log = logging.getLogger("npserver.server")

MOST_AT_ONCE = 32  # connections accepted before others get their turn
PAUSE_S = 0.1  # after a failure that will not be over at once, such as having no descriptor left


class Acceptor:
    """Accepts on one socket, which it closes in the end. What becomes of a connection is `_take`'s, of a subclass."""

    __slots__ = ("_family", "_pause", "_poller", "_sock", "live")

    def __init__(self, live: Live, poller: Poller, sock: socket.socket) -> None:
        self.live = live
        self._poller = poller
        self._sock = sock
        self._family = int(sock.family)
        self._pause: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        poller.watch(sock.fileno(), self._accept, is_listening=True)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.live!r}>"

    def close(self) -> None:
        """Accept no more."""
        if self._pause is not None:
            self._pause.cancel()
        else:
            self._poller.unwatch(self._sock.fileno())
        self._sock.close()

    def _take(self, sock: socket.SocketType, peer: object) -> None:
        """Go on with a connection. `sock` is a blocking socket: calls need `socket.MSG_DONTWAIT`. `peer`: the address
        as `accept` gives it. Never raises."""
        raise NotImplementedError

    def _accept(self, events: int) -> None:
        # hot: static-connect, tcp-connect
        sock, take, family = self._sock, self._take, self._family
        for _ in range(MOST_AT_ONCE):
            try:
                number, peer = sock._accept()  # type: ignore[attr-defined]  # without a socket object of Python's
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # gone while it was queued
            except OSError as error:
                self._rest(error)
                return
            take(socket.SocketType(family, socket.SOCK_STREAM, 0, number), peer)

    def _rest(self, error: OSError) -> None:
        """Nothing can be accepted now: leave it queued, and do not ask again at once."""
        log.warning("%s: no connection can be accepted for now: %s", self.live.listener.name, error.strerror)
        self._poller.unwatch(self._sock.fileno())
        self._pause = self.live.context.loop.call_later(PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        self._poller.watch(self._sock.fileno(), self._accept, is_listening=True)


class StreamAcceptor(Acceptor):
    """Gives each connection to a protocol of its own."""

    __slots__ = ("_factory",)

    def __init__(
        self, live: Live, poller: Poller, sock: socket.socket, factory: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        """`factory` makes the protocol."""
        super().__init__(live, poller, sock)
        self._factory = factory

    def _take(self, sock: socket.SocketType, peer: object) -> None:
        # hot: tcp-connect
        SocketStream(self._poller, sock, peer).start(cast("asyncio.Protocol", self._factory()))
