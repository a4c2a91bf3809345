"""What a handler is, and what it may do with one exchange.

`web.server.http1.exchange` implements `Exchange` for HTTP/1.1, `web.server.http2.exchange` for HTTP/2; handlers know
only this file. Everything is called on the event loop's thread. A handler that can answer at once does so inside
`handle`; one that cannot keeps the exchange and answers later."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.runtime.context import Context
    from npserver.web.route import Route


class Handler(Protocol):
    """What answers the requests of a route."""

    def handle(self, exchange: Exchange) -> None:
        """Answer `exchange`, now or later. An exception becomes a 500 and an error in the log."""


class BodySink(Protocol):
    """What takes a request's body. After `body_end` or `body_lost` nothing more comes."""

    def body_data(self, data: bytes) -> None:
        """Take the next piece, free of any chunk framing."""

    def body_end(self, trailers: bytes) -> None:
        """The body is complete. `trailers`: field lines each ending in CRLF, or nothing."""

    def body_lost(self, reason: str) -> None:
        """The client broke off, broke the framing, or went over a limit; the exchange is being ended already."""


class Source(Protocol):
    """What produces a streamed response, told when the client cannot keep up."""

    def pause(self) -> None:
        """Produce no more until `resume`: the client's buffer is full."""

    def resume(self) -> None:
        """Go on."""

    def cancel(self) -> None:
        """The client is gone (or too slow): stop, release everything, do not touch the exchange again."""


class Exchange(Protocol):
    """One request and its response.

    Response fields are given as bytes: lines `Name: value\\r\\n`, without the final empty line. The server adds Date,
    Server, Connection, Content-Length or Transfer-Encoding, and the rule's `response_headers`.
    """

    request: Request
    route: Route
    context: Context
    client_ip: str  # the client's, from trusted proxies or the PROXY protocol where configured
    upstream: str  # set by the proxy for the access log: the target's URI
    user: str  # set by basic_auth for the access log

    @property
    def client_port(self) -> int:
        """The port of the connection's other end."""

    @property
    def peer_ip(self) -> str:
        """Who the connection is from."""

    @property
    def scheme(self) -> str:
        """What the client speaks to us: "http" or "https"."""

    @property
    def local(self) -> tuple[str, int]:
        """The address and port the client reached; nothing and 0 for Unix sockets."""

    @property
    def connection_id(self) -> int:
        """The same for all exchanges of one connection (conn-hash)."""

    @property
    def request_id(self) -> str:
        """32 hexadecimal digits, random; made when first asked for."""

    @property
    def tls(self) -> object | None:
        """The `ssl.SSLObject` of the connection, None on plain ones."""

    @property
    def is_gone(self) -> bool:
        """Whether the exchange is over: the client is gone, or it has been answered."""

    def watch(self, source: Source) -> None:
        """Have `source.cancel` called if the client goes before `start`; for handlers that answer later."""

    # ── the request's body ──

    def receive(self, sink: BodySink) -> None:
        """Start giving the body to `sink` (100 Continue is sent if awaited). Bodies not received are discarded."""

    def pause_receiving(self) -> None:
        """Give `sink` no more for now; the client is made to wait."""

    def resume_receiving(self) -> None:
        """Go on."""

    # ── the response: one of respond, fail, send_file, start, switch ──

    def respond(self, status: int, fields: bytes = b"", body: bytes = b"") -> None:
        """Answer whole. On HEAD and 304 the body is measured, not sent."""

    def fail(self, status: int, reason: str = "", key: str = "", fields: bytes = b"") -> None:
        """Answer with an error page (by Accept, `error_pages`). `reason` and config `key` go to the log only."""

    def send_file(self, status: int, fields: bytes, file: int, offset: int, length: int) -> None:
        """Answer with `length` bytes of the open descriptor `file` from `offset`, by sendfile(2) where possible.

        The exchange owns the descriptor from here on and closes it. A file that ends early closes the connection.
        """

    def inform(self, status: int, fields: bytes) -> None:
        """Send an interim response (103) before the real one; not on HTTP/1.0."""

    def start(self, status: int, fields: bytes, length: int | None, source: Source | None) -> None:
        """Begin a streamed response. `length` None: framed by HTTP/2, chunked, or ended by closing on HTTP/1.0."""

    def write(self, data: bytes) -> None:
        """Send a piece of a started response. Kept until sent; heed `source.pause`."""

    def finish(self, trailers: bytes = b"") -> None:
        """The started response is complete. Sending less than `length` is an error and closes the connection."""

    def abort(self, reason: str) -> None:
        """Close the connection, or reset the stream, so that the client sees a truncated answer."""

    def switch(self, fields: bytes) -> tuple[asyncio.Transport, bytes]:
        """Answer 101 and hand the connection over: its transport (paused reading) and what came after the head.

        Only HTTP/1.1 requests ask for it (`Request.upgrade`).

        The caller sets its own protocol with `transport.set_protocol` and calls `switched_closed` at its end.
        """

    def switched_closed(self, received: int, sent: int, reason: str) -> None:
        """The tunnel that `switch` began has ended: bytes from and to the client, for log and counters."""
