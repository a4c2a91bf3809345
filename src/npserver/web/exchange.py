"""The roles around one HTTP request: the exchange, its handler, the middleware, and the route that names them.

An *exchange* is one request and its response. `web.server.http1.exchange` implements `Exchange` for HTTP/1.1,
`web.server.http2.exchange` for HTTP/2; handlers and middleware know only this file. Everything is called on the event
loop's thread. A handler that can answer at once does so inside `handle`; one that cannot keeps the exchange and answers
later. The same holds for middleware: `Middleware.request` answers, or calls `Exchange.proceed`, now or later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.observe.request_record import Attempt
    from npserver.observe.tracing.trace import Trace
    from npserver.runtime.context import Context
    from npserver.web.request_times import HostSeries, Series

Page = tuple[bytes, bytes]  # field lines of a response and a body, for an answer made by the server itself


class Handler(Protocol):
    """Answers the requests of a route."""

    def handle(self, exchange: Exchange) -> None:
        """Answer `exchange`, now or later. An exception becomes a 500 and an error in the log."""


class Prepared(Protocol):
    """A whole answer with a body, kept in memory and never changed, which can be sent without an exchange."""

    @property
    def status(self) -> int:
        """The status code."""

    @property
    def fields(self) -> bytes:
        """The field lines; the server adds Content-Length."""

    @property
    def body(self) -> bytes:
        """The whole body."""


class BodySink(Protocol):
    """The consumer of a request's body. Nothing follows `body_end` or `body_lost`."""

    def body_data(self, data: bytes) -> None:
        """Take the next piece, free of any chunk framing."""

    def body_end(self, trailers: bytes) -> None:
        """The body is complete. `trailers`: field lines, each ending in CRLF; or empty."""

    def body_lost(self, reason: str) -> None:
        """The client broke off, broke the framing, or went over a limit; the exchange is being ended already."""


class ResponseSource(Protocol):
    """The producer of a streamed response; told when the client cannot keep up."""

    def pause(self) -> None:
        """Stop producing until `resume`: the client's buffer is full."""

    def resume(self) -> None:
        """Continue: the client's buffer has room again."""

    def cancel(self) -> None:
        """The client is gone or too slow, or its request refused: release everything, leave the exchange alone."""


class PrivateUpstream(Protocol):
    """A connection to an upstream that carries the requests of one client only."""

    def close(self) -> None:
        """Close it: the client has gone."""


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
    status: int  # of the answer; 0 until it has begun
    trace: Trace | None  # of a request with `tracing`
    attempts: list[Attempt] | None  # at targets, where an access log has their times
    cache_status: bytes  # what the cache of a proxy did, as Cache-Status tells it (RFC 9211)
    response_fields: bytes  # where an access log has any
    #: Set by a handler that answers later: told when the client goes before `start`. `start` sets it too.
    source: ResponseSource | None

    @property
    def client_port(self) -> int:
        """The port of the connection's other end."""

    @property
    def peer_ip(self) -> str:
        """The address of the connection's other end, which may be a proxy; `client_ip` is the client's."""

    @property
    def scheme(self) -> str:
        """The scheme of the connection: "http" or "https"."""

    @property
    def local(self) -> tuple[str, int]:
        """The address and port the client reached; nothing and 0 for Unix sockets."""

    @property
    def connection_id(self) -> int:
        """The same for all exchanges of one connection (conn-hash)."""

    @property
    def private_upstreams(self) -> dict[object, Any] | None:
        """The connections kept by `keep_upstream` for the client, by their keys; None if there are none."""

    def keep_upstream(self, key: object, connection: PrivateUpstream) -> None:
        """Keep a connection for later requests of this client only; it is closed when the client has gone."""

    @property
    def request_id(self) -> str:
        """32 hexadecimal digits, random; made when first asked for."""

    @property
    def tls(self) -> object | None:
        """The `ssl.SSLObject` of the connection, None on plain ones."""

    def proceed(self) -> None:
        """Let the next middleware have the request, or the handler after the last one. Call it once per middleware."""

    def reroute(self, route: Route) -> None:
        """Let another route answer: its gates and middleware see the request first. Called by handlers."""

    @property
    def is_gone(self) -> bool:
        """Whether the exchange is over: the client is gone, or it has been answered."""

    def watch_end(self, ended: Callable[[], None]) -> None:
        """Have `ended` called once when the exchange is over: answered, given up, or its tunnel closed."""

    # ── the request's body ──

    def receive(self, sink: BodySink) -> None:
        """Start giving the body to `sink` (100 Continue is sent if awaited). Bodies not received are discarded."""

    def allow_silence(self) -> None:
        """Let the client pause within its body for as long as it likes over HTTP/2: the handler times it."""

    def pause_receiving(self) -> None:
        """Give `sink` no more for now; the client is made to wait."""

    def resume_receiving(self) -> None:
        """Continue to give the body to the sink."""

    # ── the response: one of respond, fail, send_file, start, switch ──

    def respond(self, status: int, fields: bytes = b"", body: bytes = b"") -> None:
        """Answer whole. On HEAD and 304 the body is measured, not sent."""

    def fail(self, status: int, reason: str, key: str = "", fields: bytes = b"", *, level: int | None = None) -> None:
        """Answer with an error page (by Accept, `error_pages`), and log it at `level`, by default one for the status.

        `reason` and `key`, the config key that decided, go to the log only. Without a key the rule has decided.
        """

    def send_file(self, status: int, fields: bytes, file: int, offset: int, length: int) -> None:
        """Answer with `length` bytes of the open descriptor `file` from `offset`, by sendfile(2) where possible.

        The exchange owns the descriptor from here on and closes it. A file that ends early closes the connection.
        """

    def inform(self, status: int, fields: bytes) -> None:
        """Send an interim response (103) before the real one; not on HTTP/1.0."""

    def start(self, status: int, fields: bytes, length: int | None, source: ResponseSource | None) -> None:
        """Begin a streamed response. `length` None: framed by HTTP/2, chunked, or ended by closing on HTTP/1.0."""

    def write(self, data: bytes) -> None:
        """Send a piece of a started response. Kept until sent; heed `source.pause`."""

    def flush(self) -> None:
        """Send what the response filters have kept of the pieces so far."""

    def finish(self, trailers: bytes = b"") -> None:
        """The started response is complete. Sending less than `length` is an error and closes the connection."""

    def abort(self, reason: str, key: str = "", *, level: int = logging.DEBUG) -> None:
        """Close the connection, or reset the stream, so that the client sees a truncated answer.

        `reason` and `key` go to the log as those of `fail` do.
        """

    def switch(self, fields: bytes) -> tuple[asyncio.Transport, bytes]:
        """Answer 101 and hand the connection over: its transport (paused reading) and what came after the head.

        Only HTTP/1.1 requests ask for it (`Request.upgrade`). The caller sets its own protocol with
        `transport.set_protocol` and calls `switched_closed` at its end.
        """

    def switched_closed(self, received: int, sent: int, reason: str) -> None:
        """The tunnel that `switch` began has ended: bytes from and to the client, for log and counters."""


class Refusal(Struct, frozen=True):
    """The refusal of a request by a gate: the arguments of `Exchange.fail`."""

    status: int
    reason: str  # for the log
    key: str  # the config key that decided, for the log; "" for the rule
    fields: bytes = b""  # added to the error page's, such as Retry-After
    #: Called once, when the refusal is answered: counts it, and returns the level of its line in the log.
    answered: Callable[[], int] | None = None


class ResponseStart(Struct):
    """The head of a response on its way through the response filters, which may change it."""

    status: int
    fields: bytes
    length: int | None  # of the body in bytes; None if it is not known yet
    has_body: bool  # False for HEAD, 204 and 304: `data` and `end` are not called


class ResponseFilter:
    """The response side of a middleware, made for one exchange. This base passes everything on unchanged.

    `start` comes once for the final response; `interim` before it for each 1xx response. The calls of `data` and `end`
    follow only if `start` returned True.
    """

    is_paced: ClassVar[bool] = False  # it makes the source wait: long bodies are to come in pieces

    def interim(self, status: int, fields: bytes) -> bytes:
        """Return the field lines of an interim response (1xx)."""
        return fields

    def start(self, head: ResponseStart) -> bool:
        """Look at the response's head and change it. Return whether the body is to pass through `data` and `end`.

        Set `head.length` to None if the body's length changes; for a whole answer the server measures the body again.
        """
        return False

    def data(self, data: bytes) -> bytes:
        """Return the bytes to send for a piece of the body; they may be none."""
        return data

    def flush(self) -> bytes:
        """Return the bytes to send of what `data` has kept: called by `Exchange.flush`."""
        return b""

    def end(self, trailers: bytes) -> tuple[bytes, bytes]:
        """The body is complete. Return the bytes still to send, and the trailers."""
        return b"", trailers

    def cancel(self) -> None:
        """The response ends before it is complete: release everything."""


class Middleware:
    """A step before, and around, every handler of a route. A subclass overrides only the sides that it has.

    `gate` and `change_fields` are cheap: they run without an exchange, so a route that has only these is still answered
    from memory. `request`, `response` and `failure` take an exchange. The order of all middleware is the list in
    `web.middleware.order`: requests pass it forwards, responses backwards, whoever made the response.
    """

    def gate(self, client_ip: str, request: Request) -> Refusal | None:
        """Return None to let the request pass, or the refusal that answers it.

        A request that is refused without an exchange is asked about again with one: count refusals in
        `Refusal.answered`. One that passes is not asked about again.
        """
        return None

    def request(self, exchange: Exchange) -> None:
        """Answer the exchange, or call `exchange.proceed()`: now, or later once something has been waited for."""
        exchange.proceed()

    def response(self, exchange: Exchange) -> ResponseFilter | None:
        """Return the filter of this exchange's response; None to leave it alone."""
        return None

    def change_fields(self, fields: bytes) -> bytes:
        """Return the field lines to send for a response with these, whatever the request."""
        return fields

    def failure(self, exchange: Exchange, status: int) -> Page | None:
        """Return the page for a failure that the server itself answers (`Exchange.fail`); None for the usual one."""
        return None


def _overriding(middleware: tuple[Middleware, ...], side: str) -> list[Middleware]:
    return [one for one in middleware if getattr(type(one), side) is not getattr(Middleware, side)]


class DirectHandler(Protocol):
    """Passes plain requests on without an exchange. Both methods return False for a request that takes one."""

    def forward(self, connection: Any, request: Request, route: Route) -> bool:
        """Pass a request over HTTP/1.1 on; the connection is a `web.server.roles.DirectConnectionRole`."""

    def forward_stream(self, connection: Any, stream_id: int, request: Request, route: Route) -> bool:
        """Do the same over HTTP/2; the connection is a `web.server.roles.DirectStreamsRole`."""


class Route(Struct, frozen=True):
    """A rule about HTTP requests, compiled: looked up for each request. `make_route` makes it."""

    name: str  # for logs: "dispatch[3] proxy /api/**"
    handler: Handler
    max_body_size: int
    key: str = "dispatch"  # the config key of the rule, for the log: "dispatch[3]"
    rule_name: str = ""  # the rule's `name`, for the log
    is_logged: bool = True  # its requests are in the access logs
    max_body_key: str = "limits.max_body_size"  # the config key of that limit, for the log
    prefix: str = ""  # the pattern without its star: "/api" for "/api/**", "" for "/**"
    aborts_on_close: bool = False  # a client that ends its side of an HTTP/1.1 connection is taken to be gone
    #: The sides of the route's middleware, each in the order in which they are called.
    gates: tuple[Callable[[str, Request], Refusal | None], ...] = ()
    requests: tuple[Callable[[Exchange], None], ...] = ()
    responses: tuple[Callable[[Exchange], ResponseFilter | None], ...] = ()
    failures: tuple[Callable[[Exchange, int], Page | None], ...] = ()
    change_fields: Callable[[bytes], bytes] | None = None
    #: Returns the prepared answer to a plain request (`Request.is_plain`), or None. None: an exchange is always needed.
    prepared: Callable[[Request], Prepared | None] | None = None
    direct: DirectHandler | None = None  # passes plain requests on without an exchange; None: each takes one
    is_guarded: bool = False  # it has gates or request sides
    #: Of a route that stands for several with conditions (`web.matching`): returns the one of a request, which may
    #: still depend on the client's address.
    by_head: Callable[[Request], Route] | None = None
    #: Returns the route for a client's address; None: it is the same for all.
    by_address: Callable[[str], Route] | None = None
    times: Series | HostSeries | None = None  # of its requests, by `metrics.times`


def make_route(
    name: str,
    handler: Handler,
    max_body_size: int,
    middleware: tuple[Middleware, ...] = (),
    *,
    key: str = "dispatch",
    rule_name: str = "",
    is_logged: bool = True,
    max_body_key: str = "limits.max_body_size",
    prefix: str = "",
    aborts_on_close: bool = False,
    times: Series | HostSeries | None = None,
) -> Route:
    """Make a route; `middleware` in the order in which requests pass it."""
    gates = tuple([one.gate for one in _overriding(middleware, "gate")])
    requests = tuple([one.request for one in _overriding(middleware, "request")])
    responses = tuple([one.response for one in reversed(_overriding(middleware, "response"))])
    changes = [one.change_fields for one in reversed(_overriding(middleware, "change_fields"))]
    return Route(
        name=name,
        handler=handler,
        max_body_size=max_body_size,
        key=key,
        rule_name=rule_name,
        is_logged=is_logged,
        max_body_key=max_body_key,
        prefix=prefix,
        aborts_on_close=aborts_on_close,
        times=times,
        gates=gates,
        requests=requests,
        responses=responses,
        failures=tuple([one.failure for one in _overriding(middleware, "failure")]),
        change_fields=_composed(changes),
        prepared=None if requests or responses else getattr(handler, "prepared", None),
        direct=None if requests or responses else getattr(handler, "direct", None),
        is_guarded=bool(gates or requests),
    )


def _composed(changes: Sequence[Callable[[bytes], bytes]]) -> Callable[[bytes], bytes] | None:
    """Return one function for several changes of field lines; None for none."""
    if len(changes) < 2:
        return changes[0] if changes else None

    def change(fields: bytes) -> bytes:
        for one in changes:
            fields = one(fields)
        return fields

    return change
