"""The HTTP/3 state of one connection: frames, field compression, control streams (RFC 9114, 9204).

It reads the streams of a QUIC connection, and tells the owner, `web.server.http3.connection`, what they say. For the
exchanges it has the calls of `web.server.http2.session`, so that both versions share them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from qh3 import _hazmat

from npserver.http.http2_fields import FIELD_OVERHEAD_BYTES
from npserver.http.http3_fields import content_length, find_fault, find_trailer_fault
from npserver.web.server.http3 import frames
from npserver.web.server.http3.client_streams import ClientStreams, SessionError
from npserver.web.server.http3.frames import frame, varint
from npserver.web.server.http3.incomplete_heads import IncompleteHeads
from npserver.web.server.http3.priority import priority_field
from npserver.web.server.http3.request_stream import BODY, DONE, HEAD, RequestStream
from npserver.web.server.http3.responses import Responses

if TYPE_CHECKING:
    from npserver.http.request import Fields
    from npserver.http.request_parser import HeadLimits
    from npserver.listen.quic.connection import QuicConnection
    from npserver.web.config import Limits

TABLE_BYTES = 4096  # of the dynamic table of a client's field sections
BLOCKED_STREAMS = 16  # that may wait for the table
MAX_BLOCKED_BYTES = 64 << 10  # of one of them


class Streams(Protocol):
    """The owner of a session, which is told what the client does."""

    def stream_opened(self, stream_id: int, fields: Fields, has_body: bool) -> None:
        """A request's head has come."""

    def stream_body(self, stream_id: int, data: bytes, has_ended: bool) -> None:
        """A piece of a request's body has come; acknowledge it once it is used."""

    def stream_trailers(self, stream_id: int, fields: Fields) -> None:
        """A request has ended, with trailers."""

    def stream_closed(self, stream_id: int) -> None:
        """A stream is closed: both sides have ended it, or one has reset it."""

    def is_refused(self, stream_id: int) -> bool:
        """Return whether a request that begins now is to be rejected."""

    def control_frame(self) -> None:
        """A frame without a request has come."""


class Http3Session(Responses):
    """The HTTP/3 state of one connection."""

    # _streams         request streams that are not finished
    # _blocked         streams that wait for the table; in the library, also those that are over
    # _unacknowledged  bytes of bodies that were passed on and not used yet
    # _finished        number of request streams that are over
    # next_id          of the request streams that have not begun, the first

    __slots__ = (
        "_blocked", "_client_streams", "_control_id", "_decoder", "_decoder_id", "_finished", "_max_section", "_owner",
        "_streams", "_unacknowledged", "_window", "heads", "next_id",
    )  # fmt: skip

    def __init__(self, owner: Streams, quic: QuicConnection, limits: Limits, head_limits: HeadLimits) -> None:
        super().__init__(quic)
        # Up to twice the limits is answered with 431; beyond that the connection ends.
        self._max_section = 2 * (head_limits.head_bytes + head_limits.fields * FIELD_OVERHEAD_BYTES)
        self._owner: Streams | None = owner
        self._window = 2 * limits.http2_window
        self._decoder = _hazmat.QpackDecoder(TABLE_BYTES, BLOCKED_STREAMS, max_field_section_size=self._max_section)
        self._streams: dict[int, RequestStream] = {}
        self._client_streams = ClientStreams(quic)
        self.heads = IncompleteHeads(quic, self._fail_stream)
        self._blocked: dict[int, RequestStream] = {}
        self._unacknowledged = self._finished = 0
        self.next_id = 0
        self._control_id = self._decoder_id = -1
        self._open(head_limits)

    def _open(self, head_limits: HeadLimits) -> None:
        transport = self._quic.quic
        control, decoder = transport.open_stream(), transport.open_stream()
        if control is None or decoder is None:
            self._quic.close(frames.GENERAL_PROTOCOL_ERROR, "too few unidirectional streams are allowed")
            return
        self._control_id, self._decoder_id = control, decoder
        settings = {
            frames.QPACK_MAX_TABLE_CAPACITY: TABLE_BYTES,
            frames.MAX_FIELD_SECTION_SIZE: head_limits.head_bytes + head_limits.fields * FIELD_OVERHEAD_BYTES,
            frames.QPACK_BLOCKED_STREAMS: BLOCKED_STREAMS,
            frames.ENABLE_CONNECT_PROTOCOL: 1,
        }
        transport.send(control, varint(frames.CONTROL_STREAM) + frames.settings_frame(settings))
        transport.send(decoder, varint(frames.DECODER_STREAM))

    # ── what the client sends ──

    def feed(self, stream_id: int, data: bytes, has_ended: bool) -> None:
        """Take bytes of a stream. Raises: SessionError."""
        if self._owner is None:
            return
        if stream_id & 2:
            self._client_streams.feed(self, stream_id, data, has_ended)
            return
        stream = self._streams.get(stream_id) or self._begin(stream_id)
        stream.has_ended = stream.has_ended or has_ended
        if stream.state == DONE:
            self._drop(stream, len(data))
            return
        stream.buffer = stream.buffer + data if stream.buffer else data
        if len(stream.buffer) > MAX_BLOCKED_BYTES and stream_id in self._blocked:
            raise SessionError("a stream waits too long for the dynamic table", frames.EXCESSIVE_LOAD)
        self._read(stream)

    def _begin(self, stream_id: int) -> RequestStream:
        """A request begins."""
        stream = self._streams[stream_id] = RequestStream(stream_id)
        self.next_id = max(self.next_id, stream_id + 4)
        if self._owner is not None and self._owner.is_refused(stream_id):
            self._fail_stream(stream, frames.REQUEST_REJECTED)
        return stream

    def stream_reset(self, stream_id: int) -> None:
        """The client sends no more on a stream. Raises: SessionError."""
        if stream_id & 2:
            self._client_streams.reset(stream_id)
            return
        stream = self._streams.get(stream_id) or self._begin(stream_id)  # nothing but the reset may have come
        if stream.state != DONE and not stream.has_ended:
            stream.has_ended = True
            self._end(stream)
            self._quic.quic.reset(stream_id, frames.REQUEST_CANCELLED)

    def stop_sending(self, stream_id: int) -> None:
        """The client reads no more of a stream. Raises: SessionError."""
        if stream_id in (self._control_id, self._decoder_id):
            raise SessionError("a critical stream was stopped", frames.CLOSED_CRITICAL_STREAM)
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.is_closed:
            self._end(stream)
            if not stream.has_ended:
                self._quic.quic.stop(stream_id, frames.REQUEST_CANCELLED)

    def stream_finished(self, stream_id: int) -> None:
        """The client has all of a stream, and we have all of its."""
        stream = self._streams.pop(stream_id, None)
        if not stream_id & 2:
            self._finished += 1
            self.queue.drop(stream_id)
        if stream is not None:
            self._release(stream)
            if not stream.is_closed and self._owner is not None:
                self._owner.stream_closed(stream_id)

    def close(self) -> None:
        """Tell the owner no more: its connection is lost."""
        self._owner = None
        self._streams.clear()
        self.heads.close()

    # ── request streams ──

    def _read(self, stream: RequestStream) -> None:
        """Read the frames that are complete, and the pieces of others that need not be."""
        owner = self._owner
        while owner is not None and stream.state != DONE and stream.id not in self._blocked:
            if stream.left:
                if not stream.has_unread:
                    break
                self._read_payload(stream, owner)
                continue
            found = stream.next_frame()
            if found is None:
                break
            kind, size = found
            if kind == frames.DATA:
                if stream.state != BODY:
                    raise SessionError("DATA before HEADERS, or after trailers", frames.FRAME_UNEXPECTED)
                stream.left, stream.is_data = size, True
                if not size:
                    owner.control_frame()
            elif kind == frames.HEADERS:
                if size > self._max_section:
                    raise SessionError("a field section over the limit", frames.EXCESSIVE_LOAD)
                section = stream.take(size)
                if len(section) < size:
                    stream.unread_frame()
                    break
                self._decode(stream, section)
            elif kind in frames.HTTP2_TYPES or kind in frames.CONTROL_TYPES or kind == frames.PUSH_PROMISE:
                raise SessionError(f"frame of type 0x{kind:x} on a request stream", frames.FRAME_UNEXPECTED)
            else:
                stream.left, stream.is_data = size, False
                owner.control_frame()
            owner = self._owner
        stream.compact()
        if stream.state == HEAD or stream.buffer or stream.held:
            self.heads.note(stream)
        if stream.has_ended and stream.state != DONE and stream.id not in self._blocked:
            self._finish_reading(stream)

    def _read_payload(self, stream: RequestStream, owner: Streams) -> None:
        """Pass on a piece of a DATA frame, or skip one of a frame of unknown type."""
        piece = stream.take(stream.left)
        stream.left -= len(piece)
        if not stream.is_data:
            return
        stream.received += len(piece)
        length, is_last = stream.length, stream.has_ended and not stream.has_unread and not stream.left
        if length is not None and (stream.received > length or (is_last and stream.received < length)):
            self._fail_stream(stream, frames.MESSAGE_ERROR)
            return
        if is_last:
            stream.state = DONE
        self._count(stream, len(piece))
        owner.stream_body(stream.id, piece, is_last)

    def _finish_reading(self, stream: RequestStream) -> None:
        """The client has ended a stream."""
        if stream.left or stream.buffer:
            raise SessionError("a stream ends within a frame", frames.FRAME_ERROR)
        if stream.state == HEAD:
            self._fail_stream(stream, frames.REQUEST_INCOMPLETE)
        elif stream.length is not None and stream.received != stream.length:
            self._fail_stream(stream, frames.MESSAGE_ERROR)
        elif self._owner is not None:
            stream.state = DONE
            if stream.trailers is not None:
                self._owner.stream_trailers(stream.id, stream.trailers)
            else:
                self._owner.stream_body(stream.id, b"", True)

    def _decode(self, stream: RequestStream, section: bytes) -> None:
        """Decompress a field section, or let it wait for the dynamic table."""
        try:
            instructions, fields = self._decoder.feed_header(stream.id, section)
        except _hazmat.StreamBlocked:
            self._blocked[stream.id], stream.blocked = stream, len(section)
            return
        except _hazmat.HeaderTooLarge:
            raise SessionError("a field section over the limit", frames.EXCESSIVE_LOAD) from None
        except Exception:
            raise SessionError("a field section cannot be read", frames.QPACK_DECOMPRESSION_FAILED) from None
        if instructions:
            self._quic.quic.send(self._decoder_id, instructions)
        self._take_section(stream, tuple(fields))

    def _take_section(self, stream: RequestStream, fields: Fields) -> None:
        owner = self._owner
        if owner is None:
            return
        if stream.state == BODY:
            if stream.trailers is not None:
                raise SessionError("HEADERS after trailers", frames.FRAME_UNEXPECTED)
            if find_trailer_fault(fields):
                self._fail_stream(stream, frames.MESSAGE_ERROR)
                return
            stream.trailers = fields
            return
        if find_fault(fields):
            self._fail_stream(stream, frames.MESSAGE_ERROR)
            return
        has_body = not stream.has_ended or stream.has_unread
        stream.length = content_length(fields)
        if not has_body and stream.length:
            self._fail_stream(stream, frames.MESSAGE_ERROR)
            return
        stream.state = BODY if has_body else DONE
        stream.is_told = True
        self.queue.open(stream.id, priority_field(fields))
        owner.stream_opened(stream.id, fields, has_body)

    def _fail_stream(self, stream: RequestStream, code: int) -> None:
        """End a stream that is malformed or refused."""
        self._end(stream)
        self.reset(stream.id, code)

    def _end(self, stream: RequestStream) -> None:
        """Tell the owner that a stream is closed, and read no more of it."""
        if stream.id in self._blocked and not stream.is_closed:
            self._quic.quic.send(self._decoder_id, frames.stream_cancellation(stream.id))
        stream.state, stream.buffer, stream.at = DONE, b"", 0
        self.queue.drop(stream.id)
        self.heads.note(stream)
        self._release(stream)
        if not stream.is_closed:
            stream.is_closed = True
            if self._owner is not None:
                self._owner.stream_closed(stream.id)

    def _drop(self, stream: RequestStream, size: int) -> None:
        """Drop what comes on a stream that is not read any more; it cannot go on for ever."""
        stream.unwanted += size
        if stream.unwanted > 2 * self._window:
            raise SessionError("a stream goes on that was stopped", frames.EXCESSIVE_LOAD)

    def encoder_data(self, data: bytes) -> None:
        """Take instructions for the dynamic table, and read the streams that have waited for them."""
        try:
            self._decoder.feed_encoder(data)
        except Exception:
            raise SessionError("bad QPACK instructions", frames.QPACK_ENCODER_STREAM_ERROR) from None
        for stream_id in list(self._blocked):
            try:
                instructions, fields = self._decoder.resume_header(stream_id)
            except _hazmat.StreamBlocked:
                continue
            except Exception:
                raise SessionError("a field section cannot be read", frames.QPACK_DECOMPRESSION_FAILED) from None
            stream = self._blocked.pop(stream_id)
            stream.blocked = 0
            if instructions and not stream.is_closed:
                self._quic.quic.send(self._decoder_id, instructions)
            if stream.state != DONE:
                self._take_section(stream, tuple(fields))
            self._read(stream)

    def control_frame(self) -> None:
        """Count a frame without a request."""
        if self._owner is not None:
            self._owner.control_frame()

    def priority_update(self, stream_id: int, field: bytes) -> None:
        """Take the priority of a request that may not have begun yet (RFC 9218 §7.2). Raises: SessionError."""
        if stream_id & 3 or stream_id >= 4 * (self._quic.quic.max_streams + self._finished):
            raise SessionError("PRIORITY_UPDATE for what is no request", frames.ID_ERROR)
        self.queue.update(stream_id, field)

    # ── flow control of requests ──

    def _count(self, stream: RequestStream, size: int) -> None:
        stream.unacknowledged += size
        self._unacknowledged += size
        if self._unacknowledged > self._window:
            self._quic.hold(is_held=True)

    def acknowledge(self, stream_id: int, amount: int) -> None:
        """Let the client send more: `amount` bytes of a request's body are used."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._acknowledge(stream, amount)

    def _release(self, stream: RequestStream) -> None:
        self._acknowledge(stream, stream.unacknowledged)

    def _acknowledge(self, stream: RequestStream, amount: int) -> None:
        amount = min(amount, stream.unacknowledged)
        stream.unacknowledged -= amount
        self._unacknowledged -= amount
        if self._unacknowledged <= self._window // 2:
            self._quic.hold(is_held=False)

    # ── responses; most of it is in `web.server.http3.responses` ──

    def reset(self, stream_id: int, code: int) -> None:
        """Reset a stream."""
        transport, stream = self._quic.quic, self._streams.get(stream_id)
        self.queue.drop(stream_id)
        transport.reset(stream_id, code)
        if stream is None or not stream.has_ended:
            transport.stop(stream_id, code)

    def stop(self, stream_id: int) -> None:
        """Ask the client to send no more of a request that is answered (§4.1)."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.has_ended:
            self._quic.quic.stop(stream_id, frames.NO_ERROR)
            stream.state = DONE

    def go_away(self) -> None:
        """Send GOAWAY: serve the requests that have begun and no others (§5.2)."""
        self._quic.quic.send(self._control_id, frame(frames.GOAWAY, varint(self.next_id)))
