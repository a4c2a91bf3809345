"""A listener in one process: accepts clients on the sockets that `listen.binding` has bound."""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from npserver.address import QUIC
from npserver.listen.drained_sockets import admit_clients, is_listening, refuse_clients
from npserver.listen.first_bytes import DeferredAcceptor
from npserver.listen.last_connections import has_queued
from npserver.net.poller import POLLER
from npserver.net.socket_options import tune

if TYPE_CHECKING:
    from npserver.listen.datagrams import OpenSocket
    from npserver.listen.listener import Listener
    from npserver.listen.quic.endpoint import QuicEndpoint, QuicFront
    from npserver.listen.roles import Accepting
    from npserver.runtime.context import Context
    from npserver.runtime.front import Client, DatagramFront, StreamFront

log = logging.getLogger("npserver.server")


class SocketAcceptor(Protocol):
    """Accepts the clients of one socket until it is closed."""

    def close(self) -> None:
        """Stop accepting."""


class LiveListener:
    """A listener in one process: its front, which a reload replaces, and the acceptors of its sockets."""

    __slots__ = ("_acceptors", "_kept", "_sockets", "context", "front", "is_draining", "listener")

    def __init__(self, listener: Listener, front: StreamFront | DatagramFront, context: Context) -> None:
        self.listener = listener
        self.front = front
        self.context = context
        self.is_draining = False  # it takes no new clients: `npserver drain`
        self._sockets: Sequence[socket.socket] = ()
        self._acceptors: list[SocketAcceptor] = []
        self._kept: list[OpenSocket] = []  # those of datagrams that serve only the clients they had

    def __repr__(self) -> str:
        return f"<LiveListener {self.listener.name} {'serving' if self._acceptors else 'stopped'}>"

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Accept clients on duplicates of `sockets`; the caller keeps its own. Sockets that are drained stay so."""
        self._sockets = [one.dup() for one in sockets]
        if not self.listener.address.is_stream or all(map(is_listening, self._sockets)):  # else it is drained
            await self._accept_on_all()

    async def replace(self, listener: Listener, front: StreamFront | DatagramFront) -> None:
        """Apply a reloaded config. Established connections stay, and use the new front for their next request."""
        before, self.listener, self.front = self.listener, listener, front
        if self.is_draining:
            self._drain_front()
        if listener.address.scheme == QUIC:
            for endpoint in self._acceptors:
                cast("QuicEndpoint", endpoint).replaced()
            if not self._acceptors:
                await self._accept_on_all()
        if self.is_accepting and (before.accepts_proxy is None) != (listener.accepts_proxy is None):
            old = self._acceptors
            await self._accept_on_all()
            for acceptor in old:
                acceptor.close()

    # ── drained by `npserver drain` ──

    def drain(self) -> None:
        """Begin no sessions, and let the next request of each connection be its last.

        Clients that have connected already are accepted until `refuse_clients`.
        """
        self.is_draining = True
        self._drain_front()

    def refuse_clients(self) -> None:
        """Take no more connections, until `undrain`. Raises: OSError where the system cannot refuse them."""
        if self.listener.address.is_stream:
            acceptors, self._acceptors = self._acceptors, []
            for acceptor in acceptors:
                acceptor.close()
            for one in self._sockets:
                refuse_clients(one)

    async def undrain(self) -> None:
        """Take clients again. Raises: OSError."""
        self.is_draining = False
        undrain = getattr(self.front, "undrain", None)
        if undrain is not None:
            self.front = undrain()
        for one in self._sockets:
            admit_clients(one, self.listener.backlog)
        if not self._acceptors:
            await self._accept_on_all()

    @property
    def is_accepting(self) -> bool:
        """Whether it takes connections or datagrams."""
        return bool(self._acceptors)

    def _drain_front(self) -> None:
        drain = getattr(self.front, "drain", None)
        if drain is not None:
            self.front = drain()

    def leave(self) -> None:
        """Serve only the present clients: another program has the sockets too, and takes those that wait."""
        if self.listener.address.scheme == QUIC:
            for endpoint in self._acceptors:
                cast("QuicEndpoint", endpoint).leave()
        elif not self.listener.address.is_stream:
            self._kept = cast("list[OpenSocket]", self._acceptors)
            self._acceptors = []
            for one in self._kept:
                one.leave(self._clients_of(one))
        else:
            self.stop()

    def read_waiting(self) -> None:
        """Read what the clients of `leave` had sent before it: nothing of theirs is under way to the shared sockets."""
        if self.listener.address.scheme == QUIC:
            for endpoint in list(self._acceptors):
                cast("QuicEndpoint", endpoint).read_waiting()
        for one in self._kept:
            one.read_waiting(functools.partial(self._clients_of, one))

    def _clients_of(self, one: OpenSocket) -> list[Client]:
        """Return the clients that have a session and send to this socket."""
        clients: Sequence[tuple[Client, object]] = getattr(self.front, "clients", ())
        return [client for client, sock in clients if sock is one]

    @property
    def has_kept(self) -> bool:
        """Whether clients of datagrams are served after `leave`."""
        return any(one.has_kept for one in self._kept)

    def close_kept(self) -> None:
        """End those."""
        for one in self._kept:
            one.close()

    def stop(self) -> None:
        """Stop accepting clients."""
        acceptors, self._acceptors = self._acceptors, []
        for acceptor in acceptors:
            acceptor.close()
        for one in self._sockets:
            one.close()
        self._sockets = ()

    @property
    def has_queued(self) -> bool:
        """Whether a client has connected that is not accepted yet."""
        return has_queued(self._sockets)

    async def _accept_on_all(self) -> None:
        if self.listener.address.scheme == QUIC:
            from npserver.listen.quic.endpoint import QuicEndpoint  # imported only where it is used

            if self._sockets:
                self._acceptors = [QuicEndpoint(self, self.context, [one.dup() for one in self._sockets])]
            else:  # another worker has them
                cast("QuicFront", self.front).opened(self.listener.address.port)
            return
        self._acceptors = [await self._accept_on(one) for one in self._sockets]

    async def _accept_on(self, bound: socket.socket) -> SocketAcceptor:
        listener, loop = self.listener, self.context.loop
        if not listener.address.is_stream:
            from npserver.listen.datagrams import open_socket

            return cast("SocketAcceptor", open_socket(self.context, self, bound.dup()))
        if bound.family != socket.AF_UNIX:
            tune(bound, bound.getsockname()[0])
        factory: Callable[[], asyncio.BaseProtocol] = self._accept
        is_plain = listener.server_tls is None and listener.accepts_proxy is None
        if is_plain and (poller := POLLER.of(self.context)) is not None:
            if not getattr(self.front, "wants_first_bytes", False):
                from npserver.listen.stream_acceptor import StreamAcceptor

                return StreamAcceptor(self, poller, bound.dup(), factory)
            if bound.family != socket.AF_UNIX:
                return DeferredAcceptor(self, poller, bound.dup())
        if not is_plain:
            factory = accept_factory(self, self._accept)
        if bound.family != socket.AF_UNIX:
            return await loop.create_server(factory, sock=bound.dup(), backlog=listener.backlog)
        # The master removes the socket's file; from Python 3.13 on asyncio would do so when the server is closed.
        keep_file: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        return await loop.create_unix_server(factory, sock=bound.dup(), backlog=listener.backlog, **keep_file)

    def _accept(self, alpn: str | None = None) -> asyncio.BaseProtocol:
        """Return the protocol for a connection. Never raises: libuv would stop accepting on this socket."""
        try:
            return cast("StreamFront", self.front).accept(self, alpn)
        except Exception:
            log.exception("error while accepting on %s", self.listener.name)
            return _Refusal()


class _Refusal(asyncio.Protocol):
    """The protocol of a connection for which the front raised an exception: closes it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).abort()


def accept_factory(live: Accepting, accept: Callable[..., asyncio.BaseProtocol]) -> Callable[[], asyncio.BaseProtocol]:
    """Return a factory for the first protocol of each connection: PROXY header, TLS, or the front's own.

    `accept` makes the front's protocol. Certificates and settings are read for each connection, so that a reload takes
    effect without a new factory.
    """
    is_tls = live.listener.address.is_tls
    if is_tls:
        from npserver.tls.accept import TlsServer  # imported only where it is used, for a fast start
        from npserver.tls.watch import FOLLOWING

        FOLLOWING.of(live.context)

    def secure() -> asyncio.BaseProtocol:
        listener = live.listener
        if listener.server_tls is None:
            return accept()
        return TlsServer(
            live,
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
