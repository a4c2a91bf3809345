"""Accepts connections that must begin with a PROXY header, then hands them over to their real protocol.

The header is mandatory from the networks in `accept_proxy` and has to be there within `timeouts.proxy_header`; anybody
else is refused, so that nobody can choose an address to appear under.
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
    from npserver.listen.listener import Accepting

log = logging.getLogger("npserver.server")


class ProxyAccept(asyncio.Protocol):
    """A connection until its PROXY header is read.

    The next protocol is told the header's endpoints by `proxied(source, destination)`, if it has that, before its
    `connection_made`; then it gets what came behind the header.
    """

    __slots__ = ("_accept", "_live", "_transport", "_wire", "deadline")

    def __init__(self, live: Accepting, accept: Callable[[], asyncio.BaseProtocol]) -> None:
        """`accept` makes the next protocol."""
        self._live = live
        self._accept = accept
        self._transport: asyncio.Transport | None = None
        self._wire = b""
        self.deadline = NEVER

    def __repr__(self) -> str:
        return f"<ProxyAccept {self._live.listener.name} {len(self._wire)} bytes>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse those that may not send a header, wait for that of the others."""
        self._transport = cast("asyncio.Transport", transport)
        listener, context = self._live.listener, self._live.context
        peer = transport.get_extra_info("peername")
        permitted = listener.accepts_proxy
        # whoever can reach a Unix socket was let in by its file's permissions
        if permitted is None or (isinstance(peer, tuple) and not permitted(peer[0])):
            log.debug("%s: %s is not in accept_proxy", listener.name, self._peer())
            self._transport.abort()
            return
        self.deadline = context.loop.time() + listener.proxy_header_timeout_s
        context.sweeper.watched.add(self)

    def data_received(self, data: bytes) -> None:
        """Read the header."""
        if self.deadline == NEVER:
            return
        self._wire += data
        try:
            header = parse_header(self._wire)
        except ProxyHeaderError as error:
            log.debug("%s: %s: %s", self._peer(), error, clip(self._wire))
            self._abort()
            return
        if header is not None:
            self._hand_over(header)

    def expire(self, now: float) -> None:
        """`timeouts.proxy_header` has passed."""
        log.debug("%s: no PROXY header within timeouts.proxy_header", self._peer())
        self._abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Gone before its header was complete."""
        self._forget()

    def _hand_over(self, header: ProxyHeader) -> None:
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

    def _peer(self) -> str:
        peer = cast("asyncio.Transport", self._transport).get_extra_info("peername")
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "unix:"
