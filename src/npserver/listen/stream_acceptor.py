"""Accepts connections without HTTP and without TLS: each becomes a `net.socket_stream.SocketStream`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from npserver.listen.acceptor import Acceptor
from npserver.net.socket_stream import SocketStream

if TYPE_CHECKING:
    from npserver.net.poller import Poller
    from npserver.runtime.front import Live


class StreamAcceptor(Acceptor):
    """Accepts on one socket; each connection gets a new protocol."""

    __slots__ = ("_factory",)

    def __init__(
        self, live: Live, poller: Poller, sock: socket.socket, factory: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        """Create it. `factory` makes the protocols."""
        super().__init__(live, poller, sock)
        self._factory = factory

    def _take(self, sock: socket.SocketType, peer: object) -> None:
        # hot: tcp-connect
        SocketStream(self._poller, sock, peer).start(cast("asyncio.Protocol", self._factory()))
