"""Accepts connections that begin with a PROXY protocol header (`accept_proxy`), then starts their real protocol.

Peers in the networks of `accept_proxy` must send the header, within `timeouts.proxy_header`. All other peers are
refused: otherwise a client could claim any address.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from npserver.errors import clip
from npserver.net.proxy_protocol import ProxyHeader, ProxyHeaderError, parse_header
from npserver.runtime.deadlines import NEVER
from npserver.runtime.protocols import feed

if TYPE_CHECKING:
    from npserver.listen.roles import Accepting

log = logging.getLogger("npserver.server")


class ProxyAccept(asyncio.Protocol):
    """The protocol of a connection until its PROXY header is complete.

    The next protocol gets the addresses of the header by `proxied(source, destination)`, if it has such a method,
    before its `connection_made`; then the data after the header.
    """

    __slots__ = ("_accept", "_live", "_transport", "_wire", "deadline")

    awaits_request = True

    def __init__(self, live: Accepting, accept: Callable[[], asyncio.BaseProtocol]) -> None:
        """Create it. `accept` makes the next protocol."""
        self._live = live
        self._accept = accept
        self._transport: asyncio.Transport | None = None
        self._wire = b""
        self.deadline = NEVER

    @property
    def listener(self) -> Accepting:
        """The listener that accepted the connection."""
        return self._live

    @property
    def transport(self) -> asyncio.Transport | None:
        """The client's transport."""
        return self._transport

    def shut_down(self) -> None:
        """Close at shutdown: no header has come."""
        self._abort()

    def __repr__(self) -> str:
        return f"<ProxyAccept {self._live.listener.name} {len(self._wire)} bytes>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio for a new connection: refuse it, or wait for its header."""
        self._transport = cast("asyncio.Transport", transport)
        listener, context = self._live.listener, self._live.context
        peer = transport.get_extra_info("peername")
        permitted = listener.accepts_proxy
        # access to a Unix socket is controlled by its file permissions
        if permitted is None or (isinstance(peer, tuple) and not permitted(peer[0])):
            log.debug("%s: connection from %s refused (accept_proxy)", listener.name, self._peer())
            if listener.on_strange_peer is not None and isinstance(peer, tuple):
                listener.on_strange_peer(peer[0])
            self._transport.abort()
            return
        self.deadline = context.loop.time() + listener.proxy_header_timeout_s
        context.sweeper.watched.add(self)
        context.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with received data: parse the header."""
        if self.deadline == NEVER:
            return
        self._wire += data
        try:
            header = parse_header(self._wire)
        except ProxyHeaderError as error:
            name = self._live.listener.name
            log.debug(
                "%s: connection from %s refused: %s: %s (accept_proxy)", name, self._peer(), error, clip(self._wire)
            )
            self._abort()
            return
        if header is not None:
            self._start_next(header)

    def expire(self, now: float) -> None:
        """Called by the deadline sweeper."""
        log.debug("%s: no complete PROXY header in time (timeouts.proxy_header)", self._peer())
        self._abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio when the connection is closed before its header is complete."""
        self._forget()

    def _start_next(self, header: ProxyHeader) -> None:
        transport = cast("asyncio.Transport", self._transport)
        self._forget()
        protocol = cast("asyncio.Protocol", self._accept())
        if header.source is not None and (tell := getattr(protocol, "proxied", None)) is not None:
            tell(header.source, header.destination)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        rest, self._wire = self._wire[header.size :], b""
        if rest and not transport.is_closing():
            feed(transport.get_protocol(), rest)

    def _abort(self) -> None:
        self._forget()
        cast("asyncio.Transport", self._transport).abort()

    def _forget(self) -> None:
        self.deadline = NEVER
        self._live.context.sweeper.watched.discard(self)
        self._live.context.connections.discard(self)

    def _peer(self) -> str:
        peer = cast("asyncio.Transport", self._transport).get_extra_info("peername")
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "unix:"
