"""The request that fills the cache, in the place of a client's exchange for the proxy: `web.exchange.Exchange`.

It speaks for the client that asked first, and outlives it: others may wait for the same response. It is a GET without
conditions and ranges of the client's; those of the cache take their place where a stored response is validated.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from msgspec.structs import replace

from npserver.http.fields import SELECTIVE

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.observe.request_record import Attempt
    from npserver.web.exchange import Exchange, PrivateUpstream, ResponseSource

_LEFT_OUT = SELECTIVE | {b"if-range"}


def fill_request(request: Request, etag: bytes, modified: bytes) -> Request:
    """Return the request to send for a client's. `etag`, `modified`: of the stored response that it is to validate."""
    block = request.block
    lines = [line for line in block.lines if line.partition(b":")[0].lower() not in _LEFT_OUT]
    significant = tuple([line for line in block.significant if line.partition(b":")[0].lower() not in _LEFT_OUT])
    if etag:
        lines.append(b"If-None-Match: " + etag)
    if modified:
        lines.append(b"If-Modified-Since: " + modified)
    return replace(
        request,
        block=replace(block, lines=lines, significant=significant, forwarded=None, variables=None, known_fields=None),
        is_plain=not etag and not modified,
        known_fields=None,
        handler_cache=None,
    )


class FillSink(Protocol):
    """The receiver of the response: `fill.Fill`."""

    def whole(self, status: int, fields: bytes, body: bytes) -> None:
        """Called with a whole response."""

    def begin_body(self, status: int, fields: bytes, length: int | None) -> None:
        """Called with the head of a response whose body follows."""

    def data(self, data: bytes) -> None:
        """Called with a piece of the body."""

    def end(self) -> None:
        """Called when the body is complete."""

    def lost(self, reason: str, key: str, level: int) -> None:
        """Called when the response breaks off."""

    def fail(self, status: int, reason: str, key: str, fields: bytes, level: int | None) -> None:
        """Called when there is no response."""

    def inform(self, status: int, fields: bytes) -> None:
        """Called with an interim response."""


class FillExchange:
    """The exchange of a request that fills the cache."""

    def __init__(self, sink: FillSink, client: Exchange, request: Request) -> None:
        self._sink: FillSink | None = sink
        self._client: Exchange | None = client
        self.request = request
        self.route = client.route
        self.context = client.context
        self.client_ip = client.client_ip
        self.client_port = client.client_port
        self.peer_ip = client.peer_ip
        self.scheme = client.scheme
        self.local = client.local
        self.connection_id = client.connection_id
        self.user = client.user
        self.tls = client.tls
        self.trace = client.trace
        self.upstream = ""
        self.attempts: list[Attempt] | None = None
        self.private_upstreams: dict[object, Any] | None = None
        self.source: ResponseSource | None = None

    def __repr__(self) -> str:
        return f"<FillExchange {self.request.method} {self.request.path}>"

    @property
    def request_id(self) -> str:
        """The id of the request that asked first."""
        return self._client.request_id if self._client is not None else ""

    @property
    def is_gone(self) -> bool:
        """Whether it is over."""
        return self._sink is None

    def close(self) -> None:
        """Let go of the fill and the client: nothing that comes is heard any more."""
        self._sink = None
        self._client = None

    def stop(self) -> None:
        """Cancel the request, unless it has ended; not within one of its own calls."""
        self.close()
        source, self.source = self.source, None
        if source is not None:
            self.context.loop.call_soon(source.cancel)

    def keep_upstream(self, key: object, connection: PrivateUpstream) -> None:
        """Keep a connection for the client that asked first."""
        if self._client is not None and not self._client.is_gone:
            self._client.keep_upstream(key, connection)
        else:
            connection.close()

    # ── the response ──

    def inform(self, status: int, fields: bytes) -> None:
        """Pass an interim response on."""
        if self._sink is not None:
            self._sink.inform(status, fields)

    def respond(self, status: int, fields: bytes = b"", body: bytes = b"") -> None:
        """Take a whole response."""
        self.source = None
        if self._sink is not None:
            self._sink.whole(status, fields, body)

    def start(self, status: int, fields: bytes, length: int | None, source: ResponseSource | None) -> None:
        """Take the head of a response."""
        self.source = source
        if self._sink is not None:
            self._sink.begin_body(status, fields, length)

    def write(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self._sink is not None:
            self._sink.data(data)

    def finish(self, trailers: bytes = b"") -> None:
        """The body is complete; trailers are not kept."""
        self.source = None
        if self._sink is not None:
            self._sink.end()

    def abort(self, reason: str, key: str = "", *, level: int = logging.DEBUG) -> None:
        """The response breaks off."""
        self.source = None
        if self._sink is not None:
            self._sink.lost(reason, key, level)

    def fail(self, status: int, reason: str, key: str = "", fields: bytes = b"", *, level: int | None = None) -> None:
        """There is no response."""
        self.source = None
        if self._sink is not None:
            self._sink.fail(status, reason, key, fields, level)
