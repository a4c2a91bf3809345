"""One request over HTTP/2 and its response: takes the place of an `upstream.http1.HttpClient` for its owner.

Made by `upstream.http2.connection` when the pool is asked for a connection. It is driven and reports as that client
does: `begin`, `write` and `end`, the `ResponseSink`, the deadline sweeper. The differences: a failure ends the stream
and not the connection; bodies are written without chunk framing (`frames_bodies`); after its response it is closed and
never used again, since the connection is what is kept.
Both directions have back-pressure: the sink is paused while the connection holds more of the request than
`buffer_size`, and the target gets new window only for data that the sink has taken.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, ClassVar

from npserver.errors import BadResponse, Phase, UpstreamError
from npserver.http.http2_fields import field_list
from npserver.http.http2_upstream import read_request_head, read_response, read_trailers
from npserver.http.response_parser import ResponseHead
from npserver.runtime.deadlines import NEVER, PERIOD_S
from npserver.upstream.connection_state import AWAITING_HEAD, CLOSED, IDLE, READING_BODY
from npserver.upstream.http2.outcomes import CANCEL, NO_ERROR, NO_TUNNELS, Failure, failure_of, head_too_large
from npserver.upstream.http2.tunnel import UpstreamTunnel, switched_head
from npserver.upstream.response_sink import ClientSettings

if TYPE_CHECKING:
    from npserver.http.request import Fields
    from npserver.upstream.http2.roles import StreamOwner
    from npserver.upstream.pool import TargetRole
    from npserver.upstream.response_sink import ResponseSink

log = logging.getLogger("npserver.upstream")

MAX_INTERIM = 32  # 1xx responses before the final one
_REFUSED = -1  # in place of the identifier of a stream whose head is not sent


class Http2Stream:
    """One request and its response."""

    # The request
    # id                 of the stream; 0 before its head is sent
    # is_request_done    whether all of it has been written
    # is_write_paused    whether the sink has been asked to stop writing
    # The response
    # is_answered        whether its first data has arrived
    # _head, _pieces     a head, and the data after it, that have arrived and are not passed on yet
    # _unacknowledged    bytes for which the target has got no new window yet
    # _websocket_key     the client's, of a request for a WebSocket (RFC 8441)
    # _tunnel            the WebSocket, once the target has agreed

    __slots__ = (
        "_connection", "_head", "_interim", "_is_idle_timed", "_is_paused", "_pieces", "_sink", "_tunnel",
        "_unacknowledged", "_websocket_key", "deadline", "id", "is_answered", "is_private", "is_request_done",
        "is_reused", "is_write_paused", "settings", "state",
    )  # fmt: skip

    #: Whether the owner frames bodies in chunks itself.
    frames_bodies: ClassVar[bool] = False

    def __init__(self, connection: StreamOwner, settings: ClientSettings, *, is_reused: bool) -> None:
        """Create it. `is_reused`: the connection was there before this request."""
        self._connection = connection
        self.settings = settings
        self.is_reused = is_reused
        self.id = 0
        self.state = IDLE
        self.deadline = NEVER
        self.is_private = False  # as a client's own it would be kept for its next request; a stream is not
        self.is_request_done = True
        self.is_answered = self.is_write_paused = False
        self._is_idle_timed = self._is_paused = False
        self._sink: ResponseSink | None = None
        self._head: ResponseHead | None = None
        self._pieces: list[bytes] = []
        self._unacknowledged = self._interim = 0
        self._websocket_key: bytes | None = None
        self._tunnel: UpstreamTunnel | None = None

    def __repr__(self) -> str:
        return f"<Http2Stream {self.id} {self.target.uri} {self.state.value}>"

    @property
    def target(self) -> TargetRole:
        """The target of the connection."""
        return self._connection.target

    @property
    def transport(self) -> asyncio.Transport:
        """The transport of the tunnel that the stream has become, else that of the connection, which all share."""
        return self._tunnel or self._connection.transport

    def unsent(self) -> int:
        """Return the bytes of the request that are not sent yet."""
        return self._connection.session.unsent(self.id)

    # ── called by the owner ──

    def begin(self, sink: ResponseSink, settings: ClientSettings, *, is_head: bool, has_body: bool) -> None:
        """Begin a request: `write` of its head follows, and of its body, if any, with `end`."""
        self._sink = sink
        self.settings = settings
        self.state = AWAITING_HEAD
        self.is_request_done = not has_body

    def send_request(self, sink: ResponseSink, settings: ClientSettings, head: bytes) -> None:
        """Send a request that has no body and whose method is not HEAD: `begin` and `write` in one call."""
        self._sink = sink
        self.settings = settings
        self.state = AWAITING_HEAD
        self.write(head)

    def write(self, data: bytes) -> None:
        """Write the head, with or without the first data of the body, then the body."""
        connection = self._connection
        if self.state is IDLE or self.state is CLOSED or self.id == _REFUSED:
            return
        if not self.id:
            head, end, data = data.partition(b"\r\n\r\n")
            self._send_head(head + end, has_ended=self.is_request_done and not data)
            if self.id == _REFUSED or not data:
                return
        connection.session.write(self.id, data)
        if self.is_request_done:  # the data came together with the head
            connection.session.finish(self.id, ())
        connection.flush_soon()
        if self._is_idle_timed:
            self.deadline = self._time() + self.settings.read_timeout_s
        if not self.is_write_paused and connection.session.unsent(self.id) >= self.settings.buffer_size:
            self.is_write_paused = True
            if self.state is AWAITING_HEAD and not self._is_idle_timed:
                self.deadline = self._time() + self.settings.send_timeout_s
            connection.blocked(self)
            if self._sink is not None:
                self._sink.request_pause()

    def end(self, data: bytes = b"", trailers: bytes = b"") -> None:
        """Complete the request's body, with this last data and these trailers, lines with their CRLF."""
        if data:
            self.write(data)
        self.is_request_done = True
        if self.id > 0 and self.state is not CLOSED:
            self._connection.session.finish(self.id, field_list(trailers))
            self._connection.flush_soon()
            if self.state is AWAITING_HEAD and not self.is_write_paused:
                self.deadline = self._time() + self.settings.response_timeout_s

    def pause_reading(self) -> None:
        """Give the target no new window until `resume_reading`."""
        if not self._is_paused and self._sink is not None:
            self._is_paused = True
            if not self._is_idle_timed:
                self.deadline = NEVER

    def resume_reading(self) -> None:
        """Let the target send again."""
        if self._is_paused and self.state is READING_BODY:
            self._is_paused = False
            self.deadline = self._time() + self.settings.read_timeout_s
            self._acknowledge()

    def abandon(self) -> None:
        """Reset the stream. The sink is not notified."""
        if self.state is not CLOSED:
            self._detach(CANCEL)

    close = return_to_pool = abandon  # the connection is kept for others

    # ── called by the connection ──

    def interim_received(self, fields: Fields) -> None:
        """A 1xx response has come."""
        self.is_answered = True
        self._interim += 1
        if self._interim > MAX_INTERIM:
            raise BadResponse(f"more than {MAX_INTERIM} interim responses")
        head = read_response(fields)
        if self._sink is not None:
            self._sink.response_interim(head)

    def head_received(self, fields: Fields, has_ended: bool) -> None:
        """The response's head has come; it is passed on with what arrives together with it. Raises: BadResponse."""
        self.is_answered = True
        head = read_response(fields)
        if has_ended:
            self._complete(head, b"")
            return
        if self._websocket_key is not None and 200 <= head.status < 300:
            self._switch(head)
            return
        self._head = head
        self._connection.settle_later(self)

    def body_received(self, data: bytes, has_ended: bool) -> None:
        """A piece of the response's body has come."""
        self._unacknowledged += len(data)
        if self._head is not None:
            if has_ended:
                head, self._head = self._head, None
                self._complete(head, b"".join((*self._pieces, data)) if self._pieces else data)
            else:
                self._pieces.append(data)
            return
        sink = self._sink
        if sink is None:
            return
        if not self._is_paused:
            self.deadline = self._time() + self.settings.read_timeout_s
        if has_ended:
            if data:
                sink.response_data(data)
            if self._sink is sink:
                self._finish(b"")
            return
        if data:
            sink.response_data(data)
        if not self._is_paused:
            self._acknowledge()

    def trailers_received(self, fields: Fields) -> None:
        """The response has ended, with trailers. Raises: BadResponse."""
        trailers = read_trailers(fields)
        self.settle()
        if self._sink is not None:
            self._finish(trailers)

    def settle(self) -> None:
        """Pass on a head that has arrived without the end of its response, and the data that came with it."""
        head, sink = self._head, self._sink
        if head is None or sink is None:
            return
        self._head = None
        pieces, self._pieces = self._pieces, []
        self.state = READING_BODY
        self.deadline = self._time() + self.settings.read_timeout_s
        sink.response_start(head)
        for data in pieces:
            if self._sink is sink:
                sink.response_data(data)
        if self._sink is sink and not self._is_paused:
            self._acknowledge()

    def closed(self, code: int, *, by_target: bool, is_leaving: bool) -> None:
        """The stream is closed, perhaps before its response was complete."""
        if self._sink is None:
            return
        failure = failure_of(code, by_target=by_target, is_leaving=is_leaving, is_answered=self.is_answered)
        self.is_answered = self.is_answered or failure.is_bad
        self.fail(failure.reason, failure=failure)

    def sent_more(self) -> None:
        """Called when some of the request may have been sent, while the stream waits for that."""
        unsent = self._connection.session.unsent(self.id)
        if self.state is CLOSED:
            return
        if unsent > self.settings.buffer_size // 2:
            self._connection.blocked(self)
            return
        self.is_write_paused = False
        if self.state is AWAITING_HEAD and not self._is_idle_timed:
            self.deadline = self._time() + self.settings.response_timeout_s if self.is_request_done else NEVER
        if self._sink is not None:
            self._sink.request_resume()

    def fail(
        self,
        reason: str,
        *,
        code: int = CANCEL,
        key: str = "",
        is_timeout: bool = False,
        failure: Failure | None = None,
    ) -> None:
        """End the request with an error. `key`: the config key that decided."""
        sink = self._sink
        is_sent = self.is_request_done and not self.is_write_paused
        self._detach(code)
        if sink is not None:
            uri, phase = self.target.uri, Phase.RECEIVE if is_sent else Phase.SEND
            error = UpstreamError(f"{uri}: {reason}", uri, phase, reused=self.is_reused and failure is None, key=key)
            error.timeout = is_timeout
            if failure is not None:
                error.unprocessed, error.going_away = failure.is_unprocessed, failure.is_leaving
                error.unserved = failure.is_unserved
            sink.response_lost(error)

    # ── called by the sweeper ──

    def expire(self, now: float) -> None:
        """Called when the deadline has passed."""
        settings = self.settings
        if self.state is CLOSED:  # together with its connection, within this sweep
            return
        if self._is_idle_timed:
            self.fail(
                f"no data in either direction for {settings.read_timeout_s:g} s", key=settings.read_key, is_timeout=True
            )
        elif self.state is READING_BODY:
            self.fail(f"no data received for {settings.read_timeout_s:g} s", key=settings.read_key, is_timeout=True)
        elif self.is_write_paused:
            self.fail(f"no data accepted for {settings.send_timeout_s:g} s", key=settings.send_key, is_timeout=True)
        else:
            self.fail(f"no response for {settings.response_timeout_s:g} s", key=settings.response_key, is_timeout=True)

    # ── private ──

    def _time(self) -> float:
        return self._connection.context.loop.time()

    def _send_head(self, data: bytes, *, has_ended: bool) -> None:
        connection = self._connection
        head = read_request_head(data, connection.scheme)
        if head.size > connection.max_head_bytes:
            self.id = _REFUSED
            connection.context.loop.call_soon(self._refuse_head, head.size)
            return
        if head.websocket_key is not None:
            self._websocket_key = head.websocket_key
            self.is_request_done = has_ended = False
            if not connection.has_tunnels:
                self.id = _REFUSED
                connection.context.loop.call_soon(self._refuse_tunnel)
                return
        if head.is_grpc and self.settings.streaming is not None:
            self.settings = self.settings.streaming
            self._is_idle_timed = True
            self.deadline = self._time() + self.settings.read_timeout_s
        elif self.is_request_done:
            self.deadline = connection.context.sweeper.now + self.settings.response_timeout_s + PERIOD_S
        self.id = connection.session.open(head.fields, has_ended=has_ended)
        if self.id:
            connection.opened(self)
            connection.flush_soon()
        else:
            self.id = _REFUSED
            connection.leave()
            connection.context.loop.call_soon(self._fail_unsent)

    def _fail_unsent(self) -> None:
        if self._sink is not None:
            reason = "the connection has ended, the request was not sent"
            self.fail(reason, failure=Failure(reason, is_unprocessed=True, is_leaving=True))

    def _refuse_head(self, size: int) -> None:
        """Answer in the target's place a request whose head it does not take (SETTINGS_MAX_HEADER_LIST_SIZE)."""
        if self._sink is not None:
            log.info("%s: request head of %d bytes, the target takes %d (SETTINGS_MAX_HEADER_LIST_SIZE): status 431",
                     self.target.uri, size, self._connection.max_head_bytes)  # fmt: skip
            self._complete(*head_too_large())

    def _refuse_tunnel(self) -> None:
        """Fail a request for a WebSocket of a target that takes none (SETTINGS_ENABLE_CONNECT_PROTOCOL)."""
        self.is_answered = True  # it is not sent to others
        self.fail(NO_TUNNELS.reason, failure=NO_TUNNELS)

    def _switch(self, head: ResponseHead) -> None:
        """The target has agreed to a WebSocket: the stream becomes a tunnel, which the relay times."""
        sink = self._sink
        self.state = READING_BODY
        self.settings = ClientSettings(NEVER, NEVER, NEVER, buffer_size=self.settings.buffer_size)
        self.deadline = NEVER
        self._sink = self._tunnel = UpstreamTunnel(self._connection.context.loop, self)
        self._is_paused = True  # until the relay reads
        if sink is not None:
            sink.response_switch(switched_head(head, self._websocket_key or b""), b"")

    def _acknowledge(self) -> None:
        if self._unacknowledged:
            amount, self._unacknowledged = self._unacknowledged, 0
            self._connection.session.acknowledge(self.id, amount)
            self._connection.flush_soon()

    def _complete(self, head: ResponseHead, body: bytes) -> None:
        sink = self._sink
        self._detach(NO_ERROR if self.is_request_done else CANCEL)
        if sink is not None:
            sink.response_whole(head, body)

    def _finish(self, trailers: bytes) -> None:
        sink = self._sink
        if self._tunnel is not None:
            self.end()
        self._detach(NO_ERROR if self.is_request_done else CANCEL)
        if sink is not None:
            sink.response_end(trailers)

    def _detach(self, code: int) -> None:
        """Give the connection up. `code`: to reset the stream with; NO_ERROR: it has ended on both sides."""
        if self.state is CLOSED:
            return
        self._sink = self._head = self._tunnel = None
        self._pieces = []
        self.state = CLOSED
        self.deadline = NEVER
        self._acknowledge()
        if code != NO_ERROR and self.id > 0:
            self._connection.session.reset(self.id, code)
            self._connection.flush_soon()
        self._connection.done(self)
