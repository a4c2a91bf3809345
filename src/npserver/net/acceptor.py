"""Accepting connections with `net.poller`, as `SocketStream`s: what `net.listener` does for all but HTTP and TLS."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from npserver.net.socketstream import SocketStream

if TYPE_CHECKING:
    from npserver.net.listener import LiveListener
    from npserver.net.poller import Poller

log = logging.getLogger("npserver.server")

MOST_AT_ONCE = 32  # connections accepted before others get their turn
PAUSE_S = 0.1  # after a failure that will not be over at once, such as having no descriptor left


class Acceptor:
    """Accepts on one socket, which it closes in the end."""

    __slots__ = ("_factory", "_family", "_live", "_pause", "_poller", "_sock")

    def __init__(
        self, live: LiveListener, poller: Poller, sock: socket.socket, factory: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        """`factory` makes the protocol of each connection."""
        self._live = live
        self._poller = poller
        self._sock = sock
        self._family = int(sock.family)
        self._factory = factory
        self._pause: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        poller.watch(sock.fileno(), self._accept, is_listening=True)

    def __repr__(self) -> str:
        return f"<Acceptor {self._live!r}>"

    def close(self) -> None:
        """Accept no more."""
        if self._pause is not None:
            self._pause.cancel()
        else:
            self._poller.unwatch(self._sock.fileno())
        self._sock.close()

    def _accept(self, events: int) -> None:
        # hot: tcp-connect
        poller, family = self._poller, self._family
        for _ in range(MOST_AT_ONCE):
            try:
                number, peer = self._sock._accept()  # type: ignore[attr-defined]  # without a socket object of Python's
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # gone while it was queued
            except OSError as error:
                self._rest(error)
                return
            caller = socket.SocketType(family, socket.SOCK_STREAM, 0, number)
            SocketStream(poller, caller, peer).start(cast("asyncio.Protocol", self._factory()))

    def _rest(self, error: OSError) -> None:
        """Nothing can be accepted now: leave it queued, and do not ask again at once."""
        log.warning("%s: no connection can be accepted for now: %s", self._live.listener.name, error.strerror)
        self._poller.unwatch(self._sock.fileno())
        self._pause = self._live.context.loop.call_later(PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        self._poller.watch(self._sock.fileno(), self._accept, is_listening=True)
