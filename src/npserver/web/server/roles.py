"""The roles that the parts of the HTTP server play for each other: a front, its connections, their exchanges.

Connections and exchanges hold each other; written against these roles, they need not import each other.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from npserver.runtime.front import StreamFront

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from npserver.errors import BadRequest
    from npserver.http.request import Fields, Request
    from npserver.http.request_parser import HeadLimits
    from npserver.networks import AddressSet
    from npserver.observe.request_record import RequestRecord
    from npserver.runtime.context import Context
    from npserver.web.config import Limits, Timeouts
    from npserver.web.exchange import BodySink, Prepared, PrivateUpstream, Route
    from npserver.web.server.http1.state import State


class RouterRole(Protocol):
    """A router as its front sees it: `web.routing.Router`."""

    def find(self, host: str, path: str) -> Route | None:
        """Return the most specific route for a request."""


class FrontRole(StreamFront, Protocol):
    """The front of a listener as its connections see it: `web.server.front.HttpFront`."""

    context: Context
    limits: Limits
    timeouts: Timeouts
    head_limits: HeadLimits
    trusted: AddressSet | None  # proxies whose X-Forwarded-For is believed
    max_requests: int  # `limits.max_requests_per_connection`
    is_timed: bool  # `metrics.times`
    idle_s: float  # `timeouts.idle` and a period of the deadline sweeper
    common_fields: bytes  # the Date and Server lines of this second
    heads: dict[bytes, tuple[Request, Route]]  # requests and their routes, by the bytes of their heads
    composed: dict[Prepared, bytes]  # answers from memory as they are sent this second, on connections that are kept
    plain_http2: bool  # clients may speak HTTP/2 without TLS
    #: Heads of this second's answers over HTTP/2: by what is kept in memory, or by status, field lines and length.
    composed_heads: dict[Prepared | tuple[int, bytes, int | None], Fields]
    on_bad_request: Callable[[str], None] | None  # called with the address of a client whose bytes are no request
    on_limited: Callable[[str], None] | None  # called with that of one whose connection is over a limit of its own
    connections_slot: int  # places on the scoreboard
    accepted_slot: int
    rejected_slot: int

    @property
    def starts(self) -> Mapping[int, bytes]:
        """The beginning of a head by its status: status line and common fields."""

    def find(self, head: bytes) -> tuple[Request, Route]:
        """Parse a head and find its route. Raises: BadRequest."""

    def find_http2(self, fields: Fields, has_body: bool) -> tuple[Request, Route]:
        """Do the same for the field list of an HTTP/2 request. Raises: BadRequest."""

    def find_http3(self, fields: Fields, has_body: bool) -> tuple[Request, Route]:
        """Do the same for the field list of an HTTP/3 request. Raises: BadRequest."""

    def count(self, status: int, sent: int, received: int = 0) -> None:
        """Count a finished request: its status, and the bytes of both bodies."""

    def finished(self, record: RequestRecord) -> None:
        """Count a finished request, and log it."""


class Http3FrontRole(Protocol):
    """The front of QUIC sockets as its connections see it: `web.server.http3.front.Http3Front`."""

    @property
    def http(self) -> FrontRole:
        """The front of the listener's TCP sockets."""


class ConnectionRole(Protocol):
    """A client's connection as its exchanges see it, whatever the version of HTTP."""

    client_ip: str
    client_port: int
    scheme: str  # "http" or "https"
    id: int
    front: FrontRole
    context: Context
    transport: asyncio.Transport
    private_upstreams: dict[object, PrivateUpstream] | None
    #: Returns the config key by which a host asks for other client certificates; "" if it does not (`tls.accept`).
    misdirected_by: Callable[[str], str] | None

    @property
    def local(self) -> tuple[str, int]:
        """The address and port the client reached."""


class BodyRole(Protocol):
    """The rest of a request's body, and who takes it."""

    done: bool
    received: int  # bytes

    def deliver_to(self, sink: BodySink) -> None:
        """Give the body to `sink` from now on; send 100 (Continue) to a client that waits for it."""

    def lose(self, reason: str) -> None:
        """Tell the sink that the rest will not come."""

    def pause(self) -> None:
        """Give the sink no more for now."""

    def resume(self) -> None:
        """Continue to give the body to the sink."""


class Http1ExchangeRole(Protocol):
    """An exchange as its HTTP/1.1 connection and the parts of the exchange see it."""

    request: Request
    route: Route
    status: int

    @property
    def body(self) -> BodyRole | None:
        """The request's body, None if there is none."""

    @property
    def is_gone(self) -> bool:
        """Whether the exchange is over."""

    @property
    def unsent_bytes(self) -> int:
        """The rest of a file that is sent beside the transport."""

    @property
    def connection(self) -> Http1ConnectionRole:
        """The connection that the request came over."""

    def feed(self, data: bytes) -> None:
        """Take bytes of the body, perhaps with what follows it."""

    def refuse_body(self, error: BadRequest) -> None:
        """Answer a body that is faulty, too long or stalled, if that is still possible, and close."""

    def break_off(self) -> None:
        """End after an error of ours: 500 if nothing is sent yet, else close."""

    def eof_received(self) -> None:
        """The client has ended its side."""

    def connection_lost(self) -> None:
        """The client is gone."""

    def pause_writing(self) -> None:
        """The transport's buffer is full."""

    def resume_writing(self) -> None:
        """The transport's buffer has room again."""


class Http1ConnectionRole(ConnectionRole, Protocol):
    """An HTTP/1.1 connection as its exchange sees it."""

    buffer: bytes  # pipelined bytes
    read_all: bool  # the client has ended its side
    requests: int
    is_reading: bool
    is_write_paused: bool

    @property
    def exchange(self) -> object:
        """The exchange in progress, None between two."""

    def drop_exchange(self) -> None:
        """The exchange in progress is over."""

    def hold(self, data: bytes) -> None:
        """Keep pipelined bytes until the exchange in progress is over."""

    def pause_reading(self) -> None:
        """Stop reading from the client."""

    def resume_reading(self) -> None:
        """Read from the client again."""

    def await_client(self) -> None:
        """Start the timeout of a client that reads nothing."""

    def await_body(self, is_awaited: bool) -> None:
        """Start, renew or stop the timeout of a client that owes the rest of a body."""

    def exchange_ended(self) -> None:
        """The exchange in progress is over and the connection is kept: serve the next request."""

    def leave(self, request: Request) -> None:
        """Close after the last answer."""

    def linger(self) -> None:
        """End our side; read and drop for a while what the client still sends."""

    def close(self) -> None:
        """Close once everything written is sent."""

    def hand_over(self) -> bytes:
        """Give the transport to a tunnel; return the bytes that came after the request."""

    def release(self) -> None:
        """Give up the connection's place under the limits."""


class DirectConnectionRole(Http1ConnectionRole, Protocol):
    """An HTTP/1.1 connection as a handler sees it that can answer without an exchange."""

    state: State
    deadline: float  # until when `state` may last

    def exchange_for(self, request: Request, route: Route, started: float, *, instead_of: object) -> Http1ExchangeRole:
        """Return an exchange that takes the place of the call that stood in for it."""


class StreamSession(Protocol):
    """The frames of a connection as its exchanges see it: `web.server.http2.session`, `web.server.http3.session`."""

    def inform(self, stream_id: int, fields: Sequence[tuple[bytes, bytes]]) -> None:
        """Send an interim response."""

    def respond(self, stream_id: int, fields: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole response."""

    def start(self, stream_id: int, fields: Sequence[tuple[bytes, bytes]]) -> None:
        """Send the head of a response; its body follows."""

    def write(self, stream_id: int, data: bytes) -> None:
        """Send a piece of a body as soon as the client's window allows."""

    def finish(self, stream_id: int, trailers: Fields) -> None:
        """End a response."""

    def acknowledge(self, stream_id: int, amount: int) -> None:
        """Give the client new window for `amount` bytes of a request's body that are used."""

    def unsent(self, stream_id: int) -> int:
        """Return the bytes of a response's body that are not sent yet."""

    @property
    def all_unsent(self) -> int:
        """Bytes of all responses' bodies that are not sent yet."""

    def progress(self, stream_id: int) -> int:
        """Return how many bytes were sent on the connection, if this response waits for others; 0 if it does not, as
        what holds it up is the client's window of its stream."""


class StreamRole(Protocol):
    """A request over HTTP/2 or HTTP/3 as its connection sees it: an exchange, or a call that stands in for one."""

    @property
    def is_gone(self) -> bool:
        """Whether it has been answered, or the client is gone."""

    def feed(self, data: bytes, *, has_ended: bool, trailers: bytes = b"") -> None:
        """A piece of the body has come, or its end."""

    def closed(self) -> bool:
        """The stream is closed. Return whether it was reset before its response was complete."""

    def look(self, *, is_drained: bool) -> bool:
        """See what the client has taken. Return whether there is nothing left to take.

        `is_drained`: the transport has got all that the client's windows allow.
        """


class Http2ExchangeRole(StreamRole, Protocol):
    """An exchange as the parts of an HTTP/2 exchange see it."""

    request: Request
    route: Route
    status: int
    stream_id: int
    session: StreamSession

    @property
    def connection(self) -> Http2ConnectionRole:
        """The connection that the request came over."""

    def answered(self, status: int, sent: int) -> None:
        """Take over a response that was answered without an exchange, and waits for the client."""

    def keep_body_time(self) -> None:
        """Start, renew or stop the timeout of a client that owes the rest of a body."""

    def break_off(self) -> None:
        """End after an error of ours: 500 if nothing is sent yet, else reset the stream."""


class Http2ConnectionRole(ConnectionRole, Protocol):
    """An HTTP/2 connection as its exchanges see it."""

    @property
    def session(self) -> StreamSession:
        """The connection's frames."""

    def sending(self, exchange: StreamRole) -> None:
        """The session has got something to send for this exchange."""

    def cut(self, stream_id: int, code: int, *, is_whole: bool = False) -> None:
        """Reset a stream. `is_whole`: no more of the request's body is to come."""

    def flush_soon(self) -> None:
        """Send what the session holds when the loop comes round."""


class DirectStreamsRole(Http2ConnectionRole, Protocol):
    """An HTTP/2 connection as a handler sees it that can answer without an exchange."""

    streams: dict[int, StreamRole]

    def exchange_for(self, stream_id: int, request: Request, route: Route, started: float) -> Http2ExchangeRole:
        """Return an exchange that takes the place of the call that stood in for it."""
