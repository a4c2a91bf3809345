"""The HTTP front of a listener: its router, its limits and its cache of parsed heads. Made by `web.compile`.

A connection calls `front.find(head)` for each request, and gets the parsed request with its route. A head that is in
the cache takes one look-up. The cache is bounded, holds only requests without a body, and ends with the front."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import TYPE_CHECKING

from npserver.http.dates import format_date
from npserver.http.memo import Memo, are_short, is_short, seen_before
from npserver.http.request import NO_BODY, Fields, Request
from npserver.http.request_parser import HeadLimits, parse_head
from npserver.runtime.deadlines import PERIOD_S
from npserver.web.exchange import Route, make_route
from npserver.web.server.http1.answer import STATUS_LINES
from npserver.web.server.http1.connection import Http1Connection
from npserver.web.server.http1.one_shot import try_answer

if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import SocketType

    from npserver.listen.first_bytes import DeferredAcceptor
    from npserver.networks import AddressSet
    from npserver.observe.request_record import RequestRecord
    from npserver.runtime.context import Context
    from npserver.runtime.front import Live
    from npserver.web.config import Limits, Timeouts
    from npserver.web.exchange import Exchange, Prepared
    from npserver.web.server.roles import RouterRole

    ReadRequest = Callable[[Fields, bool, HeadLimits, Callable[[int], bytes]], Request]

log = logging.getLogger("npserver.http")

CACHED_HEADS = 1024  # per generation; two are kept
SEEN_HEADS = 4096  # hashes of heads seen once: only heads that come again are cached
CACHED_ROUTES = 4096  # of hosts and paths
CACHED_HEAD_BYTES = 4096  # longer heads are not cached
ALT_SVC_S = 86400  # how long clients may remember that HTTP/3 is served


class _Starts(dict[int, bytes]):
    """Status line and common fields by status, each made on first use."""

    def __init__(self, front: HttpFront) -> None:
        self._front = front

    def __missing__(self, status: int) -> bytes:
        start = self[status] = STATUS_LINES[status] + self._front.common_fields
        return start


class Unrouted:
    """Answers requests that no rule matches."""

    __slots__ = ()

    def handle(self, exchange: Exchange) -> None:
        """Answer 404."""
        exchange.fail(404, "no rule matches the host and the path")


class ServerOptions:
    """Answers `OPTIONS *`, which asks about the server itself (RFC 9110 §9.3.7)."""

    __slots__ = ()

    def handle(self, exchange: Exchange) -> None:
        """Answer with the methods that rules may serve."""
        exchange.respond(204, b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n")


class HttpFront:
    """Serves HTTP on one listener."""

    wants_first_bytes = True

    def __init__(
        self,
        router: RouterRole,
        context: Context,
        limits: Limits,
        timeouts: Timeouts,
        *,
        server_header: str = "npserver",  # "" for none
        trusted: AddressSet | None = None,
        caches_heads: bool = True,
    ) -> None:
        self.context = context
        self.limits = limits
        self.timeouts = timeouts
        self.max_requests = limits.max_requests_per_connection
        self.idle_s = timeouts.idle + PERIOD_S  # measured from the last sweep
        self.trusted = trusted
        self.unrouted = make_route("unrouted", Unrouted(), limits.max_body_size)
        self.is_timed = False  # `metrics.times`: each request is timed, as it is for the access log
        self.plain_http2 = False  # clients may speak HTTP/2 without TLS
        self.on_bad_request: Callable[[str], None] | None = None  # called with the client's address
        self.on_limited: Callable[[str], None] | None = None  # as well
        self.options = make_route("options", ServerOptions(), limits.max_body_size)
        self._routes: Memo[tuple[str, str], Route] = Memo(
            lambda place: self.options if place[1] == "*" else router.find(*place) or self.unrouted,
            CACHED_ROUTES,
            lambda place: is_short(place[1]),
        )
        self._server_line = b"Server: " + server_header.encode("latin-1") + b"\r\n" if server_header else b""
        self._alt_svc = b""  # the line of Alt-Svc, once HTTP/3 is served
        self.common_fields = b""  # Date, Server and Alt-Svc
        self.composed: dict[Prepared, bytes] = {}  # answers from memory as they are sent this second
        #: Heads of this second's answers over HTTP/2: by what is kept in memory, or by status, field lines and length.
        self.composed_heads: dict[Prepared | tuple[int, bytes, int | None], Fields] = {}
        self.starts = _Starts(self)  # by status: the status line with the common fields
        self.deadline = 0.0
        self.expire(context.loop.time())
        context.sweeper.watched.add(self)
        self.heads: dict[bytes, tuple[Request, Route]] = {}  # cached; connections look up here first
        self.head_limits = HeadLimits(limits.max_url_size, limits.max_headers, limits.max_header_size)
        self._caches_heads = caches_heads
        self._older_heads: dict[bytes, tuple[Request, Route]] = {}
        #: Cached heads of HTTP/2 and HTTP/3: those without a body, and those with one.
        self._field_lists: tuple[dict[Fields, tuple[Request, Route]], ...] = ({}, {})
        self._http3_lists: tuple[dict[Fields, tuple[Request, Route]], ...] = ({}, {})
        self._seen: set[int] = set()
        row = context.row
        self._tallies = row.tallies
        classes = [0, 1, 2, 3, 4, 5, 5, 5, 5, 5]  # a status from 600 up counts as a server error (RFC 9110 §15)
        self._class_tallies = [row.tally(f"http.responses.{digit}xx", total="http.requests") for digit in classes]
        self._sent_tally = row.tally("http.sent_bytes")
        self._received_tally = row.tally("http.received_bytes")
        self.connections_slot = row.slot("gauge.http.connections")
        self.accepted_slot = row.slot("http.connections")
        self.rejected_slot = row.slot("http.rejected_connections")

    def accept(self, live: Live, alpn: str | None = None) -> asyncio.Protocol:
        """Make the protocol of a new connection: HTTP/2 if its TLS handshake has agreed on that, else HTTP/1.1."""
        if alpn == "h2":
            from npserver.web.server.http2.connection import Http2Connection

            return Http2Connection(live)
        return Http1Connection(live)

    def try_answer(self, acceptor: DeferredAcceptor, sock: SocketType, peer: object) -> None:
        """Answer a new connection on its socket if that is possible, else hand it to the event loop."""
        try_answer(self, acceptor, sock, peer)

    def drain(self) -> HttpFront:
        """Let the next request of each connection be its last: the listener is drained."""
        self.max_requests = 0
        return self

    def undrain(self) -> HttpFront:
        """Keep connections again."""
        self.max_requests = self.limits.max_requests_per_connection
        return self

    def close(self) -> None:
        """A reload has replaced this front; connections move to the new one at their next request."""
        self.context.sweeper.watched.discard(self)

    def find(self, head: bytes) -> tuple[Request, Route]:
        """Parse a head and find its route; cache both for a head that comes again. Raises: BadRequest."""
        # hot: static-varied
        found = self._older_heads.get(head)
        if found is None:
            request = parse_head(head, self.head_limits)
            found = request, self._routes[request.host, request.path]
            if request.framing is not NO_BODY:
                return found
            seen, key = self._seen, hash(head)  # what `seen_before` does, written out
            if key not in seen:
                if len(seen) >= SEEN_HEADS:
                    seen.clear()
                seen.add(key)
                return found
        if len(head) <= CACHED_HEAD_BYTES and self._caches_heads:
            if len(self.heads) >= CACHED_HEADS:
                self._older_heads = self.heads
                self.heads = {}
            self.heads[head] = found
        return found

    def find_http2(self, fields: Fields, has_body: bool) -> tuple[Request, Route]:
        """Do the same for the field list of an HTTP/2 request. Raises: BadRequest."""
        # hot: h2-varied
        found = self._field_lists[has_body].get(fields)
        if found is None:
            from npserver.http.http2_fields import read_request

            found = self._read_list(read_request, self._field_lists[has_body], fields, has_body)
        return found

    def find_http3(self, fields: Fields, has_body: bool) -> tuple[Request, Route]:
        """Do the same for the field list of an HTTP/3 request. Raises: BadRequest."""
        found = self._http3_lists[has_body].get(fields)
        if found is None:
            from npserver.http.http3_fields import read_http3_request

            found = self._read_list(read_http3_request, self._http3_lists[has_body], fields, has_body)
        return found

    def _read_list(
        self, read: ReadRequest, known: dict[Fields, tuple[Request, Route]], fields: Fields, has_body: bool
    ) -> tuple[Request, Route]:
        request = read(fields, has_body, self.head_limits, os.urandom)
        found = request, self._routes[request.host, request.path]
        if self._caches_heads and not request.is_connect and seen_before(self._seen, hash(fields), SEEN_HEADS):
            if len(known) >= CACHED_HEADS:
                known.clear()
            if are_short(fields):
                known[fields] = found
        return found

    def offer_http3(self, port: int) -> None:
        """Tell the clients of HTTP/1.1 and HTTP/2 from now on that HTTP/3 is served on `port` (Alt-Svc, RFC 7838)."""
        self._alt_svc = b'Alt-Svc: h3=":%d"; ma=%d\r\n' % (port, ALT_SVC_S)
        self.expire(self.context.loop.time())

    def count(self, status: int, sent: int, received: int = 0) -> None:
        """Count a finished request: its status, and the bytes of both bodies."""
        # hot: static-small, proxy-small
        tallies = self._tallies
        tallies[self._class_tallies[status // 100]] += 1
        tallies[self._sent_tally] += sent
        if received:
            tallies[self._received_tally] += received

    def finished(self, record: RequestRecord) -> None:
        """Count a finished request, and log it."""
        # hot: static-log
        self.count(record.status, record.sent, record.received)
        self.context.access_log.request(record)

    def expire(self, now: float) -> None:
        """Renew the Date and Server lines; called by the deadline sweeper once a second."""
        wall = time.time()
        self.deadline = now + 1.0 - wall % 1.0
        self.common_fields = b"Date: " + format_date(wall).encode() + b"\r\n" + self._server_line + self._alt_svc
        self.starts.clear()
        self.composed.clear()
        self.composed_heads.clear()
