"""Accepts connections: TLS with the certificate for the name that is asked for, a PROXY header before it where due.

`listen.live_listener` makes a `TlsServer` of each connection. A client that speaks plain HTTP to an
https listener is told so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from npserver.errors import clip
from npserver.runtime.deadlines import NEVER
from npserver.tls.client_hello import HelloError, HelloReader
from npserver.tls.stream import TlsStream

if TYPE_CHECKING:
    from npserver.runtime.context import Context
    from npserver.tls.certificates import Identity, ServerTls

log = logging.getLogger("npserver.tls")

REFUSAL_S = 2.0  # how long a client that was told of its mistake may take to close

_HANDSHAKE = 22  # content type of a client's first TLS record (RFC 8446 §5.1)
_ADVICE = b"This port speaks HTTPS, and a plain HTTP request was sent to it. Use https:// instead.\n"
_PLAIN_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" % (len(_ADVICE), _ADVICE)
)


class TlsServer(TlsStream):
    """The side towards a client."""

    __slots__ = ("_accept", "_context", "_head", "_hello", "_identity", "_is_refused", "_proxied", "_settings",
                 "_speaks_http", "_timeout_s", "deadline")  # fmt: skip

    def __init__(
        self,
        context: Context,
        settings: ServerTls,
        accept: Callable[[str | None], asyncio.BaseProtocol],
        *,
        timeout_s: float,
        speaks_http: bool,
    ) -> None:
        """`accept` makes the protocol above, once the handshake is done: given what that has agreed on (ALPN)."""
        super().__init__()
        self._context = context
        self._settings = settings
        self._accept = accept
        self._timeout_s = timeout_s
        self._speaks_http = speaks_http
        self._identity: Identity | None = None
        self._hello: HelloReader | None = None
        self._proxied: tuple[tuple[str, int], tuple[str, int]] | None = None
        self._is_refused = False
        self.deadline = NEVER

    def proxied(self, source: tuple[str, int], destination: tuple[str, int]) -> None:
        """A PROXY header has told where the connection comes from; the protocol above is told in turn."""
        self._proxied = source, destination

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the client's hello."""
        super().connection_made(transport)
        self.deadline = self._context.loop.time() + self._timeout_s
        self._context.sweeper.watched.add(self)

    def expire(self, now: float) -> None:
        """`timeouts.tls_handshake` has passed."""
        if not self._is_refused:
            log.debug("%s: handshake not finished within timeouts.tls_handshake", self._peer())
        self.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Besides: `misdirected`, a predicate of host names whose requests must not use this connection, or None."""
        if name == "misdirected":
            return self._is_misdirected if self._settings.verifies_differently else None
        return super().get_extra_info(name, default)

    def _greet(self, data: bytes) -> None:
        """Choose the certificate and begin; then go on with the handshake."""
        if self._tls is not None:
            self._shake(data)
            return
        if self._is_refused:
            return
        if self._hello is None:
            if data[0] != _HANDSHAKE:
                self._refuse(data)
                return
            if self._settings.is_single:
                self._begin_with(self._settings.default, data)
                return
            self._hello = HelloReader()
        try:
            hello = self._hello.feed(data)
        except HelloError as error:
            log.debug("%s: %s", self._peer(), error)
            self.abort()
            return
        if hello is not None:
            self._begin_with(self._settings.choose(hello.server_name), bytes(self._hello.data))

    def _begin_with(self, identity: Identity, data: bytes) -> None:
        self._identity = identity
        self._hello = None
        self._begin(identity.context.wrap_bio(self._incoming, self._outgoing, server_side=True))
        self._shake(data)

    def _secured(self) -> asyncio.Protocol:
        self._forget()
        assert self._tls is not None
        protocol = self._accept(self._tls.selected_alpn_protocol())
        if self._proxied is not None and (tell := getattr(protocol, "proxied", None)) is not None:
            tell(*self._proxied)
        return protocol  # type: ignore[return-value]

    def _lost(self, error: Exception | None) -> None:
        self._forget()
        if error is not None:
            log.debug("%s: handshake failed: %s", self._peer(), error)

    def _forget(self) -> None:
        self.deadline = NEVER
        self._context.sweeper.watched.discard(self)

    def _refuse(self, data: bytes) -> None:
        """The client does not speak TLS."""
        log.debug("%s: no TLS, but %s", self._peer(), clip(data))
        self._is_refused = True
        if self._speaks_http and data[:1].isalpha():
            self._raw.write(_PLAIN_HTTP)
            self._raw.write_eof()  # closed when the client does, so that no reset overtakes the answer
            self.deadline = self._context.loop.time() + REFUSAL_S
        else:
            self.abort()

    def _is_misdirected(self, host: str) -> bool:
        return self._identity is not None and self._settings.is_misdirected(self._identity, host)

    def _peer(self) -> str:
        peer = self._proxied[0] if self._proxied is not None else self._raw.get_extra_info("peername")
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "unix:"
