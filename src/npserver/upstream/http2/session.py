"""The HTTP/2 library as a client behind an adapter: frames, header compression, flow control, states of streams.

ngh2 (libnghttp2) does no I/O: bytes are fed in and taken out. Imported only where a target is spoken to over HTTP/2.
What happened is told to the owner, `upstream.http2.connection`, by the calls of `SessionOwner`. Calls about a stream
that has been closed meanwhile do nothing: the owner is about to be told.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import ngh2

from npserver.http.http2_upstream import MAX_HEADER_LIST_BYTES
from npserver.http.request import Fields
from npserver.http.response_parser import MAX_FIELDS
from npserver.upstream.http2.outcomes import REFUSED_STREAM

if TYPE_CHECKING:
    from npserver.upstream.http2.settings import Http2Settings

_CONNECTION_WINDOW = 1 << 30  # the windows of the streams bound the memory: a slow client must not hold up the others
_MAX_CONTINUATIONS = 64  # the list's size is what bounds them
_FRAME_RATE = (10_000, 330)  # resets and oddities, at once and a second, where the owner sees none of them
_MAX_REQUEST_HEAD_BYTES = 512 << 10
_MAX_ACKNOWLEDGEMENTS = 1000  # of SETTINGS and PING that wait until the target reads

# Failures of calls about a stream that has been closed meanwhile, or a session that has ended.
_CLOSED = (ngh2.NGH2Error, ValueError)


class SessionError(Exception):
    """The target has broken the protocol so that the connection must end. `is_flood`: by the number of its frames."""

    def __init__(self, message: str, *, is_flood: bool = False) -> None:
        super().__init__(message)
        self.is_flood = is_flood


class SessionOwner(Protocol):
    """The owner of a session, which is told what the target does."""

    def settings_received(self, max_streams: int, max_head_bytes: int, has_tunnels: bool) -> None:
        """The target has sent SETTINGS: how many streams it allows at once, how large a head, and WebSockets."""

    def interim_received(self, stream_id: int, fields: Fields) -> None:
        """A 1xx response has come."""

    def head_received(self, stream_id: int, fields: Fields, has_ended: bool) -> None:
        """A response's head has come."""

    def body_received(self, stream_id: int, data: bytes, has_ended: bool) -> None:
        """A piece of a response's body has come; acknowledge it once it is used."""

    def trailers_received(self, stream_id: int, fields: Fields) -> None:
        """A response has ended, with trailers."""

    def stream_closed(self, stream_id: int, code: int, by_target: bool) -> None:
        """A stream is closed. `by_target`: the target has reset it, not our library for a fault in it."""

    def window_updated(self) -> None:
        """The target has opened a window."""

    def control_frame(self) -> None:
        """A frame without a response has come: SETTINGS, PING, ALTSVC, empty DATA."""

    def went_away(self, last_stream_id: int, code: int, text: bytes) -> None:
        """The target has sent GOAWAY: it processes no streams after this one."""

    def session_ended(self, code: int, text: bytes) -> None:
        """The target has broken the protocol, and our library has ended the session."""


class Http2ClientSession:
    """The HTTP/2 state of one connection to a target."""

    __slots__ = ("_connection", "_known", "_owner", "is_over")

    def __init__(self, owner: SessionOwner, settings: Http2Settings) -> None:
        # A head of up to twice the limits fails its stream; beyond that the connection ends.
        config = ngh2.Configuration(
            auto_window_update=False,
            max_reserved_remote_streams=0,
            max_send_header_block_length=_MAX_REQUEST_HEAD_BYTES,
            max_outbound_ack=_MAX_ACKNOWLEDGEMENTS,
            stream_reset_rate_limit=_FRAME_RATE,
            glitch_rate_limit=_FRAME_RATE,
            max_continuations=_MAX_CONTINUATIONS,
            max_inbound_header_list_size=2 * MAX_HEADER_LIST_BYTES,
            max_inbound_header_count=2 * MAX_FIELDS,
        )
        self._owner: SessionOwner | None = owner
        self._known: dict[int, int] = {}  # the target's settings
        self._connection = ngh2.Connection(ngh2.Role.CLIENT, config)
        self._connection.initiate_connection(
            {
                ngh2.Setting.ENABLE_PUSH: 0,
                ngh2.Setting.INITIAL_WINDOW_SIZE: settings.window,
                ngh2.Setting.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST_BYTES,
            }
        )
        self._connection.set_local_window_size(_CONNECTION_WINDOW)
        self.is_over = False  # nothing more can be sent

    # ── bytes ──

    def feed(self, data: bytes) -> None:
        """Take bytes from the target, and tell the owner. Raises: SessionError."""
        try:
            self._connection.receive_data(data)
        except ngh2.NGH2Error as error:
            self.is_over = True
            raise SessionError(str(error), is_flood=isinstance(error, ngh2.DenialOfServiceError)) from None
        self.tell()

    def take(self, amount: int) -> bytes:
        """Return at most `amount` bytes to send; call `tell` afterwards. Raises: SessionError."""
        if self.is_over:
            return b""
        try:
            return self._connection.data_to_send(amount)
        except ngh2.NGH2Error as error:
            self.is_over = True
            raise SessionError(str(error)) from None

    def tell(self) -> None:
        """Tell the owner what has happened since."""
        resets: set[int] = set()
        for event in self._connection.events():
            owner = self._owner
            if owner is None:
                return
            if isinstance(event, ngh2.DataReceived):
                if event.data or event.end_stream:
                    owner.body_received(event.stream_id, event.data, event.end_stream)
                else:
                    owner.control_frame()
            elif isinstance(event, ngh2.ResponseReceived):
                owner.head_received(event.stream_id, event.headers, event.end_stream)
            elif isinstance(event, ngh2.TrailersReceived):
                owner.trailers_received(event.stream_id, event.headers)
            elif isinstance(event, ngh2.StreamClosed):
                # REFUSED_STREAM without a reset: of a stream beyond the last one of GOAWAY
                by_target = event.stream_id in resets or event.error_code == REFUSED_STREAM
                owner.stream_closed(event.stream_id, event.error_code, by_target)
            elif isinstance(event, ngh2.WindowUpdated):
                owner.window_updated()
            elif isinstance(event, ngh2.StreamReset):
                resets.add(event.stream_id)
            elif isinstance(event, ngh2.InformationalResponseReceived):
                owner.interim_received(event.stream_id, event.headers)
            else:
                self._tell_of_connection(owner, event)

    def _tell_of_connection(self, owner: SessionOwner, event: ngh2.Event) -> None:
        if isinstance(event, ngh2.SettingsReceived):
            owner.control_frame()
            if self._owner is None:  # that was one too many
                return
            self._known.update(event.settings)
            streams = self._known.get(ngh2.Setting.MAX_CONCURRENT_STREAMS, 2**32 - 1)
            head_bytes = self._known.get(ngh2.Setting.MAX_HEADER_LIST_SIZE, 2**32 - 1)
            has_tunnels = self._known.get(ngh2.Setting.ENABLE_CONNECT_PROTOCOL) == 1
            owner.settings_received(streams, head_bytes, has_tunnels)
        elif isinstance(event, ngh2.GoAwayReceived):
            owner.went_away(event.last_stream_id, event.error_code, event.debug_data)
        elif isinstance(event, ngh2.ConnectionClosed):
            self.is_over = True
            owner.session_ended(event.error_code, event.debug_data)
        elif isinstance(event, _CONTROL):
            owner.control_frame()

    def close(self) -> None:
        """Tell the owner no more, and do not refer to it: its connection is lost, and no cycle may be left."""
        self.is_over = True
        self._owner = None

    # ── requests ──

    def open(self, fields: Fields, *, has_ended: bool) -> int:
        """Begin a request. Return its stream; 0 if the session has ended, or has no numbers left."""
        try:
            return self._connection.send_request(fields, end_stream=has_ended)
        except ngh2.NGH2Error:
            return 0

    def write(self, stream_id: int, data: bytes) -> None:
        """Send a piece of a body as soon as the target's window allows."""
        with suppress(*_CLOSED):
            self._connection.send_data(stream_id, data)

    def finish(self, stream_id: int, trailers: Fields) -> None:
        """End a request."""
        with suppress(*_CLOSED):
            if trailers:
                self._connection.send_trailers(stream_id, trailers)
            else:
                self._connection.end_stream(stream_id)

    def reset(self, stream_id: int, code: int) -> None:
        """Reset a stream."""
        with suppress(*_CLOSED):
            self._connection.reset_stream(stream_id, code)

    def unsent(self, stream_id: int) -> int:
        """Return the bytes of a request's body that are not sent yet."""
        try:
            return self._connection.queued_body_size(stream_id)
        except _CLOSED:
            return 0

    # ── responses ──

    def acknowledge(self, stream_id: int, amount: int) -> None:
        """Give the target new window for `amount` bytes of a response's body that are used."""
        with suppress(*_CLOSED):
            self._connection.acknowledge_received_data(amount, stream_id)

    # ── the connection ──

    def ping(self) -> None:
        """Ask the target for a sign of life."""
        with suppress(*_CLOSED):
            self._connection.ping()

    def terminate(self, code: int) -> bytes:
        """End the session at once. Return the last bytes to send, GOAWAY among them if it can be sent."""
        if self.is_over:
            return b""
        self.is_over = True
        try:
            self._connection.terminate_connection(code)
            return self._connection.data_to_send()
        except ngh2.NGH2Error:
            return b""


_CONTROL = (ngh2.PingReceived, ngh2.AltSvcReceived, ngh2.OriginReceived, ngh2.PriorityUpdateReceived)
