"""Field sections of answers, compressed (RFC 9204): without a dynamic table, so that equal ones are compressed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qh3._hazmat import QpackEncoder

from npserver.http.memo import Memo, are_short
from npserver.web.server.http3 import frames

if TYPE_CHECKING:
    from npserver.http.request import Fields

_CACHED_SECTIONS = 1024
_ENCODER = QpackEncoder()  # without a dynamic table it has no state


def headers_frame(fields: Fields) -> bytes:
    """Return a HEADERS frame."""
    return _frames[fields]


def _make_frame(fields: Fields) -> bytes:
    _, section = _ENCODER.encode(0, list(fields))
    return frames.frame(frames.HEADERS, section)


_frames = Memo(_make_frame, _CACHED_SECTIONS, are_short)
