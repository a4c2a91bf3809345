"""The HTTP/2 library behind an adapter: frames, header compression, flow control and stream states (RFC 9113, 7541).

ngh2 (libnghttp2) does no I/O: bytes are fed in and taken out. Imported only where a listener offers HTTP/2. What
happened is told to the owner, `web.server.http2.connection`, by the calls of `Streams`. Calls about a stream that has
been closed meanwhile do nothing: the owner is about to hear of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import ngh2
from ngh2 import (
    ConnectionClosed,
    DataReceived,
    PingAcknowledged,
    RequestReceived,
    StreamClosed,
    TrailersReceived,
    WindowUpdated,
)

from npserver.http.http2_fields import FIELD_OVERHEAD_BYTES
from npserver.http.request import Fields

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from npserver.http.request_parser import HeadLimits
    from npserver.web.config import Limits

NO_ERROR = 0x0
PROTOCOL_ERROR = 0x1
INTERNAL_ERROR = 0x2
CANCEL = 0x8
ENHANCE_YOUR_CALM = 0xB

_MAX_CONTINUATIONS = 64  # the list's size is what bounds them; every piece of one that is read counts as one more
_FRAME_RATE = (10_000, 330)  # resets and oddities, at once and a second, where the owner sees none of them
_MAX_RESPONSE_HEAD_BYTES = 256 << 10
_GOAWAY = 7  # frame type


class SessionError(Exception):
    """The client has broken the protocol so that the connection must end. `code`: an error code of RFC 9113 §7."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Streams(Protocol):
    """The owner of a session, which is told what the client does."""

    def stream_opened(self, stream_id: int, fields: Fields, has_body: bool) -> None:
        """A request's head has come."""

    def stream_data(self, stream_id: int, data: bytes, has_ended: bool) -> None:
        """A piece of a request's body has come; acknowledge it once it is used."""

    def stream_trailers(self, stream_id: int, fields: Fields) -> None:
        """A request has ended, with trailers."""

    def stream_closed(self, stream_id: int) -> None:
        """A stream is closed: both sides have ended it, or one has reset it."""

    def window_updated(self) -> None:
        """The client has opened a window."""

    def control_frame(self) -> None:
        """A frame without a request has come: SETTINGS, PING, PRIORITY_UPDATE, empty DATA."""

    def shutdown_noticed(self) -> None:
        """The client has seen `notify_shutdown`."""


class Http2Session:
    """The HTTP/2 state of one connection."""

    # _written  bytes of responses' bodies

    __slots__ = ("_connection", "_is_broken", "_owner", "_written", "is_over")

    def __init__(self, owner: Streams, limits: Limits, head_limits: HeadLimits) -> None:
        # Up to twice the limits is answered with 431; beyond that the connection ends.
        fields = 2 * head_limits.fields + 8
        config = ngh2.Configuration(
            auto_window_update=False,
            max_send_header_block_length=_MAX_RESPONSE_HEAD_BYTES,
            max_outbound_ack=min(limits.max_control_frames, 1000),
            stream_reset_rate_limit=_FRAME_RATE,
            glitch_rate_limit=_FRAME_RATE,
            max_continuations=_MAX_CONTINUATIONS,
            max_inbound_header_list_size=2 * head_limits.head_bytes + fields * FIELD_OVERHEAD_BYTES,
            max_inbound_header_count=fields,
        )
        self._owner: Streams | None = owner
        self._written = 0
        self._connection = ngh2.Connection(ngh2.Role.SERVER, config)
        self._connection.initiate_connection(
            {
                ngh2.Setting.MAX_CONCURRENT_STREAMS: limits.max_streams,
                ngh2.Setting.INITIAL_WINDOW_SIZE: limits.http2_window,
                ngh2.Setting.MAX_HEADER_LIST_SIZE: head_limits.head_bytes + head_limits.fields * FIELD_OVERHEAD_BYTES,
                ngh2.Setting.NO_RFC7540_PRIORITIES: 1,
                ngh2.Setting.ENABLE_CONNECT_PROTOCOL: 1,
            }
        )
        self._connection.set_local_window_size(4 * limits.http2_window)  # limits the memory that bodies take
        self.is_over = False  # everything is sent and received, including GOAWAY
        self._is_broken = False  # the library cannot even send GOAWAY

    # ── bytes ──

    def feed(self, data: bytes) -> int:
        """Take bytes from the client, and tell the owner. Return how many events they were. Raises: SessionError."""
        try:
            self._connection.receive_data(data)
        except ngh2.NGH2Error as error:
            self.is_over = self._is_broken = True
            is_flood = isinstance(error, ngh2.DenialOfServiceError)
            raise SessionError(str(error), ENHANCE_YOUR_CALM if is_flood else PROTOCOL_ERROR) from None
        return self.tell()

    def take(self, amount: int) -> bytes:
        """Return at most `amount` bytes to send; call `tell` afterwards."""
        if self.is_over:
            return b""
        try:
            return self._connection.data_to_send(amount)
        except ngh2.NGH2Error as error:
            self.is_over = self._is_broken = True
            raise SessionError(str(error), INTERNAL_ERROR) from None

    def tell(self) -> int:
        """Tell the owner what has happened since. Return how many events that were."""
        events, owner = self._connection.events(), self._owner
        if not events or owner is None:
            return 0
        # Requests that were reset in the same read are not begun.
        closed = {event.stream_id for event in events if type(event) is StreamClosed} if len(events) > 1 else ()
        for event in events:
            if type(event) is RequestReceived:
                if event.stream_id not in closed:
                    owner.stream_opened(event.stream_id, event.headers, not event.end_stream)
            elif type(event) is StreamClosed:
                owner.stream_closed(event.stream_id)
            elif type(event) is DataReceived:
                if not event.data and not event.end_stream:
                    owner.control_frame()
                owner.stream_data(event.stream_id, event.data, event.end_stream)
            elif type(event) is WindowUpdated:
                owner.window_updated()
            elif type(event) is TrailersReceived:
                owner.stream_trailers(event.stream_id, event.headers)
            elif type(event) is PingAcknowledged:
                owner.shutdown_noticed()
            elif type(event) is ConnectionClosed:
                self.is_over = True
            elif isinstance(event, _CONTROL):
                owner.control_frame()
        return len(events)

    def close(self) -> None:
        """Tell the owner no more, and do not refer to it: its connection is lost, and no cycle may be left."""
        self.is_over = True
        self._owner = None

    # ── requests ──

    def acknowledge(self, stream_id: int, amount: int) -> None:
        """Give the client new window for `amount` bytes of a request's body that are used."""
        self._try(self._connection.acknowledge_received_data, amount, stream_id)

    # ── responses ──

    def inform(self, stream_id: int, fields: Sequence[tuple[bytes, bytes]]) -> None:
        """Send an interim response."""
        self._try(self._connection.send_informational_response, stream_id, fields)

    def respond(self, stream_id: int, fields: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole response."""
        connection = self._connection
        try:
            if body:
                connection.send_response(stream_id, fields)
                connection.send_data(stream_id, body, end_stream=True)
                self._written += len(body)
            else:
                connection.send_response(stream_id, fields, end_stream=True)
        except ngh2.NGH2Error:
            pass  # see the module's opening

    def start(self, stream_id: int, fields: Sequence[tuple[bytes, bytes]]) -> None:
        """Send the head of a response; its body follows."""
        self._try(self._connection.send_response, stream_id, fields)

    def write(self, stream_id: int, data: bytes) -> None:
        """Send a piece of a body as soon as the client's window allows."""
        self._try(self._connection.send_data, stream_id, data)
        self._written += len(data)

    def finish(self, stream_id: int, trailers: Fields) -> None:
        """End a response."""
        if trailers:
            self._try(self._connection.send_trailers, stream_id, trailers)
        else:
            self._try(self._connection.end_stream, stream_id)

    def reset(self, stream_id: int, code: int) -> None:
        """Reset a stream."""
        self._try(self._connection.reset_stream, stream_id, code)

    def unsent(self, stream_id: int) -> int:
        """Return the bytes of a response's body that are not sent yet."""
        return self._connection.queued_body_size(stream_id)

    @property
    def all_unsent(self) -> int:
        """Bytes of all responses' bodies that are not sent yet."""
        return self._connection.queued_body_size()

    def progress(self, stream_id: int) -> int:
        """Return how many bytes were sent on the connection, if this response waits for others; 0 if it does not."""
        connection = self._connection
        try:
            is_waiting = connection.queued_body_size(stream_id) and connection.stream_remote_window_size(stream_id) > 0
        except ngh2.NGH2Error:
            return 0  # see the module's opening
        return self._written - connection.queued_body_size() if is_waiting else 0

    # ── the end ──

    def notify_shutdown(self) -> None:
        """Ask the client to open no more streams; the owner is told when it has seen that (§6.8)."""
        self._try(self._connection.send_shutdown_notice)
        self._try(self._connection.ping)

    def go_away(self) -> None:
        """Send GOAWAY: serve the present streams and no others."""
        self._try(self._connection.send_goaway, NO_ERROR)

    def terminate(self, code: int) -> bytes:
        """End the session at once. Return the last bytes to send."""
        if self.is_over:
            return _goaway(code) if self._is_broken else b""
        self.is_over = True
        try:
            self._connection.terminate_connection(code)
            return self._connection.data_to_send()
        except ngh2.NGH2Error:
            return _goaway(code)

    def _try(self, call: Callable[..., object], *args: object) -> None:
        try:
            call(*args)
        except ngh2.NGH2Error:
            pass  # see the module's opening


_CONTROL = (ngh2.SettingsReceived, ngh2.PingReceived, ngh2.PriorityUpdateReceived)


def _goaway(code: int) -> bytes:
    """Compose a GOAWAY frame (§6.8) for a session that the library has given up; it names no stream as served."""
    return b"\0\0\x08" + bytes((_GOAWAY, 0)) + bytes(4) + bytes(4) + code.to_bytes(4, "big")
