"""A listener in one process: serves its clients on the sockets that `listen.binding` has bound."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from npserver.listen.acceptor import StreamAcceptor
from npserver.listen.first_bytes import DeferredAcceptor
from npserver.net.poller import POLLER
from npserver.net.socket_options import tune

if TYPE_CHECKING:
    from npserver.listen.listener import Accepting, Listener
    from npserver.runtime.context import Context
    from npserver.runtime.front import DatagramFront, StreamFront

log = logging.getLogger("npserver.server")


class Taker(Protocol):
    """Accepts the clients of one socket until it is closed."""

    def close(self) -> None:
        """Accept no more."""


class LiveListener:
    """A listener in one process: its front, which a reload replaces, and the acceptors of its sockets."""

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
        if is_plain and (poller := POLLER.of(self.context)) is not None:
            if not getattr(self.front, "wants_first_bytes", False):
                return StreamAcceptor(self, poller, bound.dup(), factory)
            if bound.family != socket.AF_UNIX:
                return DeferredAcceptor(self, poller, bound.dup())
        if not is_plain:
            factory = accept_factory(self, self._accept)
        if bound.family != socket.AF_UNIX:
            return await loop.create_server(factory, sock=bound.dup(), backlog=listener.backlog)
        # The socket's file is its binder's to remove; from Python 3.13 on the loop would do so at the server's end.
        keep_file: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        return await loop.create_unix_server(factory, sock=bound.dup(), backlog=listener.backlog, **keep_file)

    def _accept(self, alpn: str | None = None) -> asyncio.BaseProtocol:
        """Make a connection's protocol. Never raises: libuv would accept nothing more on this socket."""
        try:
            return cast("StreamFront", self.front).accept(self, alpn)
        except Exception:
            log.exception("error while accepting on %s", self.listener.name)
            return _Refusal()


class _Refusal(asyncio.Protocol):
    """A connection for which no protocol could be made."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).abort()


def accept_factory(live: Accepting, accept: Callable[..., asyncio.BaseProtocol]) -> Callable[[], asyncio.BaseProtocol]:
    """Return what makes the first protocol of each connection to `live`; `accept` makes the last one, the front's.

    Certificates and settings are looked up for each connection: a reload needs no new factory.
    """
    is_tls = live.listener.address.is_tls
    if is_tls:
        from npserver.tls.accept import TlsServer  # only where it is used: a start is shorter without
        from npserver.tls.watch import FOLLOWING

        FOLLOWING.of(live.context)

    def secure() -> asyncio.BaseProtocol:
        listener = live.listener
        if listener.server_tls is None:
            return accept()
        return TlsServer(
            live.context,
            listener.server_tls,
            accept,
            timeout_s=listener.handshake_timeout_s,
            speaks_http=listener.address.scheme == "https",
        )

    inner = secure if is_tls else accept
    if live.listener.accepts_proxy is None:
        return inner
    from npserver.listen.proxy_header import ProxyAccept

    return lambda: ProxyAccept(live, inner)
