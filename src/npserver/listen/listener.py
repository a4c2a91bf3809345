"""Listeners: what to listen on, and serving it in one process on sockets that `listen.binding` has bound."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from msgspec import Struct

from npserver.address import Address
from npserver.listen.acceptor import StreamAcceptor
from npserver.listen.first_bytes import Greeter
from npserver.net.poller import poller_of
from npserver.net.socket_options import tune

if TYPE_CHECKING:
    from npserver.runtime.context import Context
    from npserver.runtime.front import DatagramFront, StreamFront
    from npserver.tls.certificates import ServerTls
    from npserver.web.server.front import HttpFront

log = logging.getLogger("npserver.server")


class Listener(Struct, frozen=True):
    """One entry of `listen`, compiled: everything needed to bind and accept."""

    key: str  # what tells it from others across reloads: its URI
    name: str
    address: Address
    backlog: int
    place: str  # "npserver.json:3:15" or "command line", for messages
    mode: int | None = None  # permissions of a Unix socket
    accepts_proxy: Callable[[str], bool] | None = None  # whether a peer address must send a PROXY header; None: nobody
    server_tls: ServerTls | None = None  # its certificates, chosen by name
    handshake_timeout_s: float = 10.0
    proxy_header_timeout_s: float = 5.0


class Taker(Protocol):
    """What takes a socket's clients until it is closed."""

    def close(self) -> None:
        """Take no more."""


class LiveListener:
    """A listener in one process: its front, which a reload replaces, and what accepts on its sockets."""

    __slots__ = ("_sockets", "_takers", "context", "front", "listener")

    def __init__(self, listener: Listener, front: StreamFront | DatagramFront, context: Context) -> None:
        self.listener = listener
        self.front = front
        self.context = context
        self._sockets: Sequence[socket.socket] = ()
        self._takers: list[Taker] = []

    def __repr__(self) -> str:
        return f"<LiveListener {self.listener.name} {'serving' if self._takers else 'stopped'}>"

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Serve `sockets`, which stay the caller's: what is closed at the end are duplicates."""
        self._sockets = sockets
        self._takers = [await self._accept_on(one) for one in sockets]

    async def replace(self, listener: Listener, front: StreamFront | DatagramFront) -> None:
        """Take over a reloaded config. Established connections live on and look up the new front by themselves."""
        before, self.listener, self.front = self.listener, listener, front
        if (before.accepts_proxy is None) != (listener.accepts_proxy is None):
            old = self._takers
            await self.start(self._sockets)
            for taker in old:
                taker.close()

    def stop(self) -> None:
        """Take no new clients."""
        takers, self._takers = self._takers, []
        for taker in takers:
            taker.close()

    async def _accept_on(self, bound: socket.socket) -> Taker:
        listener, loop = self.listener, self.context.loop
        if not listener.address.is_stream:
            from npserver.listen.datagrams import open_socket

            return cast("Taker", open_socket(self.context, self, bound.dup()))
        if bound.family != socket.AF_UNIX:
            tune(bound, bound.getsockname()[0])
        factory: Callable[[], asyncio.BaseProtocol] = self._accept
        is_plain = listener.server_tls is None and listener.accepts_proxy is None
        if is_plain and (poller := poller_of(self.context)) is not None:
            if not hasattr(self.front, "greet"):
                return StreamAcceptor(self, poller, bound.dup(), factory)
            if bound.family != socket.AF_UNIX:  # HTTP
                return Greeter(self, poller, bound.dup())
        if not is_plain:
            from npserver.tls.accept import accept_factory

            factory = accept_factory(self, self._accept)
        if bound.family != socket.AF_UNIX:
            return await loop.create_server(factory, sock=bound.dup(), backlog=listener.backlog)
        # The socket's file is its binder's to remove; from Python 3.13 on the loop would do so at the server's end.
        keep_file: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        return await loop.create_unix_server(factory, sock=bound.dup(), backlog=listener.backlog, **keep_file)

    def _accept(self, protocol: str | None = None) -> asyncio.BaseProtocol:
        """Make a connection's protocol. Never raises: libuv would accept nothing more on this socket.

        `protocol`: what the TLS handshake has agreed on; `h2` is offered on listeners that serve HTTP only.
        """
        try:
            if protocol == "h2":
                return cast("HttpFront", self.front).accept_http2(self)
            return cast("StreamFront", self.front).accept(self)
        except Exception:
            log.exception("error while accepting on %s", self.listener.name)
            return _Refusal()


class _Refusal(asyncio.Protocol):
    """A connection for which no protocol could be made."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).abort()
