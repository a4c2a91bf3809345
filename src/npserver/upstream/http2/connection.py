"""A connection to a target over HTTP/2 (RFC 9113): bytes in, many requests at once, bytes out.

Made by `upstream.http2.dialing`, and kept in its pool (`upstream.http2.pool`) from its first SETTINGS on, which show
that the target speaks HTTP/2. It owns the transport and the session (`upstream.http2.session`); each request is a
stream (`upstream.http2.stream`). A stream that breaks the rules fails alone. A target that breaks those of the
connection, or floods it, loses the connection: all its requests fail, and may be retried as after any lost connection.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

from npserver.errors import BadResponse, Phase, UpstreamError, clip, reason_of
from npserver.http.http2_allowance import UPDATE_BYTES, UPDATES_PER_PIECE, UPDATES_PER_REQUEST, Allowance
from npserver.runtime.deadlines import NEVER, PERIOD_S
from npserver.upstream.http2.liveness import Liveness
from npserver.upstream.http2.outcomes import (
    ENHANCE_YOUR_CALM,
    INTERNAL_ERROR,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    code_name,
)
from npserver.upstream.http2.session import Http2ClientSession, SessionError
from npserver.upstream.http2.stream import Http2Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.http.request import Fields
    from npserver.runtime.context import Context
    from npserver.upstream.http2.roles import Http2TargetRole, PoolRole
    from npserver.upstream.http2.settings import Http2Settings
    from npserver.upstream.response_sink import ClientSettings

log = logging.getLogger("npserver.upstream")

FED_BYTES = 16 << 10  # given to the session at once, so that a flood is noticed early
PIECE_BYTES = 64 << 10  # written to the transport at once
TURN_BYTES = 1 << 20  # sent before the event loop serves other connections


class Http2Connection(asyncio.Protocol):
    """A connection to a target."""

    # ready         done once the target's SETTINGS have come; an UpstreamError if they do not
    # streams       the requests that are going on
    # reserved      streams that have been given out, and have not ended
    # is_leaving    no more requests are begun; the connection closes when the present ones have ended
    # _leaves_at    when the next request is the last one (`http2.max_age`); _has_gone: a GOAWAY has come
    # _unsettled    streams with a head that is not passed on yet; _blocked: those that wait until more is sent

    __slots__ = (
        "_blocked", "_controls", "_has_gone", "_is_closed", "_is_counted", "_is_feeding", "_is_flush_due",
        "_is_write_paused", "_leaves_at", "_pool", "_sweeper", "_unsettled", "_updates", "client_settings", "context",
        "deadline", "has_tunnels", "is_leaving", "liveness", "max_head_bytes", "max_streams", "ready", "reserved",
        "scheme", "session", "settings", "streams", "target", "transport",
    )  # fmt: skip

    def __init__(
        self, context: Context, target: Http2TargetRole, http2: Http2Settings, settings: ClientSettings, pool: PoolRole
    ) -> None:
        now = context.sweeper.now
        self.context = context
        self.target = target
        self.settings = http2
        self.client_settings = settings
        self.session = Http2ClientSession(self, http2)
        self.ready: asyncio.Future[None] = context.loop.create_future()
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set by `connection_made`
        self.scheme = b"https" if target.uri.startswith("https:") else b"http"
        self.streams: dict[int, Http2Stream] = {}
        self.reserved = 0
        self.max_streams = 0
        self.max_head_bytes = 2**32 - 1
        self.is_leaving = self.has_tunnels = False
        self.deadline = NEVER
        self.liveness = Liveness(http2.ping_interval_s, now)
        self._leaves_at = now + http2.max_age_s if http2.max_age_s else NEVER
        self._pool = pool
        self._sweeper = context.sweeper
        self._controls = Allowance(http2.max_control_frames, now)
        self._updates = Allowance(http2.max_control_frames, now)
        self._unsettled: list[Http2Stream] = []
        self._blocked: set[Http2Stream] = set()
        self._has_gone = self._is_closed = self._is_counted = False
        self._is_write_paused = self._is_feeding = self._is_flush_due = False

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "leaving" if self.is_leaving else "open"
        return f"<Http2Connection {self.target.uri} {state} streams={len(self.streams)}>"

    # ── called by the pool ──

    @property
    def has_room(self) -> bool:
        """Whether another request may be sent now."""
        return not self.is_leaving and self.reserved < self.max_streams and not self.transport.is_closing()

    def open_stream(self, *, is_reused: bool) -> Http2Stream:
        """Return a stream for one request; ask `has_room` first."""
        self.reserved += 1
        return Http2Stream(self, self.client_settings, is_reused=is_reused)

    def leave(self) -> None:
        """Begin no more requests, and close once the present ones have ended."""
        self.is_leaving = True
        self._pool.forget(self)
        if not self.reserved:
            self._end(NO_ERROR)

    # ── called by the loop ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio when the connection is open and any TLS handshake is complete."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(self.client_settings.buffer_size)
        self._sweeper.watched.add(self)
        self._count(1)
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with bytes from the target."""
        if self._is_closed:
            return
        self.liveness.heard(self._sweeper.now)
        if not self.ready.done() and data.startswith(b"HTTP/1."):
            self._lose(f"not HTTP/2: {clip(data[:40])}; is the target http?")
            return
        self._is_feeding = True
        try:
            for at in range(0, len(data), FED_BYTES):
                self.session.feed(data[at : at + FED_BYTES])
                if self.session.is_over:
                    break
            self._settle()
        except SessionError as error:
            self._end(ENHANCE_YOUR_CALM if error.is_flood else PROTOCOL_ERROR, f"broke HTTP/2: {error}")
            return
        finally:
            self._is_feeding = False
        self.flush()

    def eof_received(self) -> bool:
        """Called by asyncio when the target has closed its side: the transport closes."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio when the connection is closed."""
        self._settle()
        self._lose(f"connection closed{f' ({reason_of(error)})' if error is not None else ''}")

    def pause_writing(self) -> None:
        """Called by asyncio when the write buffer passes its high-water mark; the session holds what is written."""
        self._is_write_paused = True

    def resume_writing(self) -> None:
        """Called by asyncio when the write buffer has drained below its low-water mark."""
        self._is_write_paused = False
        self.flush()

    # ── called by streams ──

    def opened(self, stream: Http2Stream) -> None:
        """A stream has begun its request."""
        if not self.streams:
            self.deadline = self.liveness.due_at()
        self.streams[stream.id] = stream
        self._sweeper.watched.add(stream)
        self._updates.earned += UPDATES_PER_REQUEST
        self.target.count_stream(1)
        if self._sweeper.now >= self._leaves_at:
            self.leave()

    def blocked(self, stream: Http2Stream) -> None:
        """A stream waits until more of its request is sent."""
        self._updates.earned += UPDATES_PER_PIECE
        self._blocked.add(stream)

    def settle_later(self, stream: Http2Stream) -> None:
        """Call `settle` of the stream once all that has arrived is processed."""
        self._unsettled.append(stream)

    def done(self, stream: Http2Stream) -> None:
        """A stream needs the connection no more."""
        self.reserved -= 1
        self._blocked.discard(stream)
        if self.streams.pop(stream.id, None) is not None:
            self._sweeper.watched.discard(stream)
            self.target.count_stream(-1)
        if self.reserved or self._is_closed:
            return
        self.deadline = self._sweeper.now + self.client_settings.pool_idle_s + PERIOD_S
        is_kept = self._pool.keeps(self, self.client_settings.pool_size) and not self.is_leaving
        if not is_kept or self.context.draining:
            self.context.loop.call_soon(self._leave_if_idle)  # not within the work of the stream

    def flush_soon(self) -> None:
        """Send in the next turn of the event loop, together with what is written until then."""
        if not self._is_flush_due and not self._is_feeding:
            self._is_flush_due = True
            self.context.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send as much as the target's windows and the transport accept."""
        self._is_flush_due = False
        if self._is_closed:
            return
        session, sent = self.session, 0
        try:
            while not self._is_write_paused:
                data = session.take(PIECE_BYTES)
                if data:
                    self.transport.write(data)
                    sent += len(data)
                if len(data) < PIECE_BYTES:
                    break
                if sent >= TURN_BYTES:
                    self.flush_soon()
                    break
            session.tell()
        except SessionError as error:
            self._end(PROTOCOL_ERROR, f"broke HTTP/2: {error}")
            return
        if sent:
            self._updates.earned += sent // UPDATE_BYTES
        if self._blocked:
            blocked, self._blocked = self._blocked, set()
            for stream in blocked:
                stream.sent_more()  # it calls `blocked` again if it still waits, or waits anew

    # ── called by the session ──

    def settings_received(self, max_streams: int, max_head_bytes: int, has_tunnels: bool) -> None:
        """The target's limits; the first ones show that it speaks HTTP/2."""
        self.has_tunnels = has_tunnels
        self.max_streams = min(max_streams, self.settings.max_streams)
        self.max_head_bytes = max_head_bytes
        if not self.ready.done():
            self.ready.set_result(None)
            self.deadline = self._sweeper.now + self.client_settings.pool_idle_s + PERIOD_S

    def interim_received(self, stream_id: int, fields: Fields) -> None:
        """A 1xx response has come."""
        self._give(stream_id, Http2Stream.interim_received, fields)

    def head_received(self, stream_id: int, fields: Fields, has_ended: bool) -> None:
        """A response's head has come."""
        self._give(stream_id, Http2Stream.head_received, fields, has_ended)

    def body_received(self, stream_id: int, data: bytes, has_ended: bool) -> None:
        """A piece of a response's body has come."""
        if not self._give(stream_id, Http2Stream.body_received, data, has_ended):
            self.session.acknowledge(stream_id, len(data))

    def trailers_received(self, stream_id: int, fields: Fields) -> None:
        """A response has ended, with trailers."""
        self._give(stream_id, Http2Stream.trailers_received, fields)

    def stream_closed(self, stream_id: int, code: int, by_target: bool) -> None:
        """A stream is closed; one without its whole response has failed."""
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._call(stream, Http2Stream.settle)
            self._call(stream, Http2Stream.closed, code, by_target=by_target, is_leaving=self.is_leaving)

    def window_updated(self) -> None:
        """The target has opened a window; more often than what it was sent explains is a flood."""
        if not self._updates.spend(self._sweeper.now):
            self._refuse_flood()

    def control_frame(self) -> None:
        """A frame without a response has come."""
        if not self._controls.spend(self._sweeper.now):
            self._refuse_flood()

    def went_away(self, last_stream_id: int, code: int, text: bytes) -> None:
        """The target ends the connection: streams after the last one have not been processed (§6.8)."""
        if code != NO_ERROR and not self._has_gone:
            log.info("%s ends a connection: %s%s", self.target.uri, code_name(code), f" {clip(text)}" if text else "")
        self._has_gone = self.is_leaving = True
        self._pool.forget(self)
        self.control_frame()
        for stream in [one for number, one in self.streams.items() if number > last_stream_id]:
            self._call(stream, Http2Stream.settle)
            self._call(stream, Http2Stream.closed, REFUSED_STREAM, by_target=True, is_leaving=True)
        if not self.reserved:
            self.context.loop.call_soon(self._leave_if_idle)

    def session_ended(self, code: int, text: bytes) -> None:
        """The target has broken the protocol: GOAWAY has been sent."""
        if not self._is_closed:
            self._lose(f"broke HTTP/2: {code_name(code)}{f' {clip(text)}' if text else ''}")

    # ── called by the sweeper ──

    def expire(self, now: float) -> None:
        """Called when the deadline has passed: close an idle connection, or find out whether the target is there."""
        settings, liveness = self.settings, self.liveness
        if self.deadline > now:  # moved meanwhile, within this sweep
            return
        if not self.reserved:
            self.leave()
        elif liveness.is_asked:
            reason = f"no answer to a PING for {settings.ping_timeout_s:g} s"
            self._lose(reason, key=f"{settings.key}.ping_timeout", is_timeout=True)
        elif (due_at := liveness.due_at()) > now:
            self.deadline = due_at
        else:
            liveness.asked(now)
            self.session.ping()
            self.flush_soon()
            self.deadline = now + settings.ping_timeout_s

    # ── private ──

    def _give(self, stream_id: int, take: Callable[..., None], *arguments: Any) -> bool:
        """Let a stream take what has come. Return whether there is one; an error in it does not reach the others."""
        self.liveness.spoke()
        self._controls.earned += 2  # targets measure the path with PINGs while they send (gRPC's do)
        stream = self.streams.get(stream_id)
        if stream is None:
            return False
        self._call(stream, take, *arguments)
        return True

    def _call(self, stream: Http2Stream, take: Callable[..., None], *arguments: Any, **keywords: Any) -> None:
        """Call a method of a stream; an error in it ends that stream alone."""
        try:
            take(stream, *arguments, **keywords)
        except BadResponse as error:
            stream.fail(str(error), code=PROTOCOL_ERROR)
        except Exception:
            log.exception("error in %r", stream)
            stream.fail("internal error", code=INTERNAL_ERROR)

    def _settle(self) -> None:
        """Pass on the heads that have arrived without the end of their responses."""
        unsettled, self._unsettled = self._unsettled, []
        for stream in unsettled:
            self._call(stream, Http2Stream.settle)

    def _leave_if_idle(self) -> None:
        if not self.reserved and not self._is_closed:
            self.leave()

    def _refuse_flood(self) -> None:
        if not self._is_closed:
            key = f"{self.settings.key}.max_control_frames"
            log.warning("closing a connection to %s: too many frames without a response (%s)", self.target.uri, key)
            self._end(ENHANCE_YOUR_CALM, "too many frames without a response", key)

    def _end(self, code: int, reason: str = "connection ended", key: str = "") -> None:
        """Send GOAWAY, close, and fail the requests that are left."""
        if self._is_closed:
            return
        data = self.session.terminate(code)
        if data and not self.transport.is_closing():
            self.transport.write(data)
        self._lose(reason, key=key)

    def _lose(self, reason: str, *, key: str = "", is_timeout: bool = False) -> None:
        """Close the connection, and fail its requests. `key`: the config key that decided."""
        if self._is_closed:
            return
        self._is_closed = self.is_leaving = True
        self._count(-1)
        self._pool.forget(self)
        self._sweeper.watched.discard(self)
        self.deadline = NEVER
        self.session.close()
        if is_timeout:
            self.transport.abort()
        else:
            self.transport.close()
        for stream in list(self.streams.values()):
            self._call(stream, Http2Stream.fail, reason, key=key, is_timeout=is_timeout)
        if not self.ready.done():
            uri = self.target.uri
            self.ready.set_exception(UpstreamError(f"{uri}: {reason}", uri, Phase.DIAL, key=key))
            self.ready.exception()  # nobody may be waiting any more

    def abort(self) -> None:
        """Close a connection whose SETTINGS have not come in time."""
        self._lose("no SETTINGS", is_timeout=True)

    def _count(self, change: int) -> None:
        if self._is_counted != (change > 0):
            self._is_counted = change > 0
            self.target.count_connection(change)
