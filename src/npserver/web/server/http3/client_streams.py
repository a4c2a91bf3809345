"""The unidirectional streams of a client: its control stream and the streams of QPACK (RFC 9114 §6.2, RFC 9204 §4.2).

Read for `web.server.http3.session`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from npserver.web.server.http3 import frames
from npserver.web.server.http3.frames import read_varint

if TYPE_CHECKING:
    from npserver.listen.quic.connection import QuicConnection

MAX_CONTROL_BYTES = 4096  # of a frame on the control stream


class SessionError(Exception):
    """The client has broken the protocol so that the connection must end. `code`: an error code of RFC 9114 §8.1."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class SessionRole(Protocol):
    """A session as its client's control streams see it."""

    def control_frame(self) -> None:
        """A frame has come."""

    def priority_update(self, stream_id: int, field: bytes) -> None:
        """PRIORITY_UPDATE has come for a request. Raises: SessionError."""

    def encoder_data(self, data: bytes) -> None:
        """Instructions for the dynamic table have come. Raises: SessionError."""


class ClientStreams:
    """What has come on the client's unidirectional streams."""

    # _open       the streams: the type once it is known, and what has not been read
    # _critical   the streams that must not end, by type

    __slots__ = ("_critical", "_has_settings", "_max_push_id", "_open", "_quic")

    def __init__(self, quic: QuicConnection) -> None:
        self._quic = quic
        self._open: dict[int, tuple[int, bytes]] = {}
        self._critical: dict[int, int] = {}
        self._has_settings = False
        self._max_push_id = -1

    def reset(self, stream_id: int) -> None:
        """The client sends no more on a stream. Raises: SessionError."""
        if stream_id in self._critical.values():
            raise SessionError("a critical stream was reset", frames.CLOSED_CRITICAL_STREAM)
        self._open.pop(stream_id, None)

    def feed(self, session: SessionRole, stream_id: int, data: bytes, has_ended: bool) -> None:
        """Take bytes of a stream. Raises: SessionError."""
        kind, rest = self._open.get(stream_id, (-1, b""))
        data = rest + data
        if kind < 0:
            kind, at = read_varint(data, 0)
            if kind < 0 and has_ended:  # before its type (§6.2): nothing of it may be left
                self._open.pop(stream_id, None)
                session.control_frame()
                return
            if kind < 0:
                self._open[stream_id] = (-1, data)
                return
            data = data[at:]
            self._begin(session, stream_id, kind)
        if kind == frames.CONTROL_STREAM:
            data = self._read_control(session, data)
        elif kind == frames.ENCODER_STREAM:
            session.encoder_data(data)
            data = b""
        else:
            data = b""  # our field sections need no instructions; other streams mean nothing to us
        if has_ended:
            if kind in self._critical:
                raise SessionError("a critical stream has ended", frames.CLOSED_CRITICAL_STREAM)
            self._open.pop(stream_id, None)
        else:
            self._open[stream_id] = (kind, data)

    def _begin(self, session: SessionRole, stream_id: int, kind: int) -> None:
        if kind in (frames.CONTROL_STREAM, frames.ENCODER_STREAM, frames.DECODER_STREAM):
            if kind in self._critical:
                raise SessionError(f"a second stream of type {kind}", frames.STREAM_CREATION_ERROR)
            self._critical[kind] = stream_id
        elif kind == frames.PUSH_STREAM:
            raise SessionError("a client pushes", frames.STREAM_CREATION_ERROR)
        else:
            self._quic.quic.stop(stream_id, frames.STREAM_CREATION_ERROR)
            session.control_frame()

    def _read_control(self, session: SessionRole, data: bytes) -> bytes:
        """Read the frames of the control stream. Return what is left."""
        at = 0
        while True:
            kind, start = read_varint(data, at)
            size, start = read_varint(data, start) if kind >= 0 else (-1, start)
            if size < 0:
                break
            if not self._has_settings and kind != frames.SETTINGS:
                raise SessionError("no SETTINGS at first", frames.MISSING_SETTINGS)
            if size > MAX_CONTROL_BYTES:
                raise SessionError("a frame over the limit on the control stream", frames.EXCESSIVE_LOAD)
            if start + size > len(data):
                break
            self._take_control(session, kind, data[start : start + size])
            at = start + size
        return data[at:]

    def _take_control(self, session: SessionRole, kind: int, payload: bytes) -> None:
        session.control_frame()
        if kind == frames.SETTINGS:
            if self._has_settings:
                raise SessionError("a second SETTINGS frame", frames.FRAME_UNEXPECTED)
            self._has_settings = True
            try:
                frames.parse_settings(payload)
            except ValueError as error:
                raise SessionError(str(error), frames.FRAME_ERROR) from None
            except KeyError as error:
                raise SessionError(f"setting {error} is not allowed", frames.SETTINGS_ERROR) from None
        elif kind in (frames.DATA, frames.HEADERS, frames.PUSH_PROMISE) or kind in frames.HTTP2_TYPES:
            raise SessionError(f"frame of type 0x{kind:x} on the control stream", frames.FRAME_UNEXPECTED)
        elif kind in (frames.MAX_PUSH_ID, frames.GOAWAY, frames.CANCEL_PUSH):
            value, end = read_varint(payload, 0)
            if value < 0 or end != len(payload):
                raise SessionError(f"malformed frame of type 0x{kind:x}", frames.FRAME_ERROR)
            if kind == frames.CANCEL_PUSH or (kind == frames.MAX_PUSH_ID and value < self._max_push_id):
                raise SessionError(f"a push id in a frame of type 0x{kind:x}", frames.ID_ERROR)
            if kind == frames.MAX_PUSH_ID:
                self._max_push_id = value
        elif kind == frames.PRIORITY_UPDATE:
            value, end = read_varint(payload, 0)
            if value < 0:
                raise SessionError("PRIORITY_UPDATE without a stream", frames.FRAME_ERROR)
            session.priority_update(value, payload[end:])
        elif kind == frames.PUSH_PRIORITY_UPDATE:
            raise SessionError("PRIORITY_UPDATE for a push", frames.ID_ERROR)  # there are none
