"""Accepts connections on one listening socket with `net.poller`, where the system has one.

Subclasses decide what becomes of a connection: `listen.first_bytes` for HTTP, `listen.stream_acceptor` for others.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from npserver.net.poller import Poller
    from npserver.runtime.front import Live

log = logging.getLogger("npserver.server")

BATCH = 32  # connections accepted before other sockets get their turn
PAUSE_S = 0.1  # after an error that lasts, such as too many open files


class Acceptor:
    """Accepts on one socket, which it owns. Subclasses implement `_take`."""

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
        """Stop accepting, and close the socket."""
        if self._pause is not None:
            self._pause.cancel()
        else:
            self._poller.unwatch(self._sock.fileno())
        self._sock.close()

    def _take(self, sock: socket.SocketType, peer: object) -> None:
        """Called for each connection; must not raise.

        `sock` is a blocking socket: calls need `socket.MSG_DONTWAIT`. `peer` is the address as `accept` returns it.
        """
        raise NotImplementedError

    def _accept(self, events: int) -> None:
        # hot: static-connect, tcp-connect
        sock, take, family = self._sock, self._take, self._family
        for _ in range(BATCH):
            try:
                number, peer = sock._accept()  # type: ignore[attr-defined]  # creates no Python socket object
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # closed by the client while it was queued
            except OSError as error:
                self._pause_accepting(error)
                return
            take(socket.SocketType(family, socket.SOCK_STREAM, 0, number), peer)

    def _pause_accepting(self, error: OSError) -> None:
        """Leave connections in the kernel's queue for a while."""
        log.warning("%s: cannot accept connections at the moment: %s", self.live.listener.name, error.strerror)
        self._poller.unwatch(self._sock.fileno())
        self._pause = self.live.context.loop.call_later(PAUSE_S, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._poller.watch(self._sock.fileno(), self._accept, is_listening=True)
