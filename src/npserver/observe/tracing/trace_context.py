"""The field `traceparent`, by which a trace goes on from server to server (W3C Trace Context, level 1)."""

from __future__ import annotations

from msgspec import Struct

from npserver.regex import regex

_FORM = regex(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1  # bit of the flags


class TraceContext(Struct, frozen=True):
    """What a client says of the trace that its request is a part of."""

    trace_id: str  # 32 hexadecimal digits
    parent_id: str  # 16 hexadecimal digits: the client's span
    is_sampled: bool  # the client records its spans


def parse_traceparent(value: bytes) -> TraceContext | None:
    """Read a value; None if it is not valid (§3.2.2): the request then begins a trace.

    Later versions are read as version 00.
    """
    found = _FORM.fullmatch(value)
    if found is None:
        return None
    version, trace_id, parent_id, flags, rest = found.groups()
    if version == b"ff" or (version == b"00" and rest) or not trace_id.strip(b"0") or not parent_id.strip(b"0"):
        return None
    return TraceContext(trace_id.decode(), parent_id.decode(), bool(int(flags, 16) & _SAMPLED))


def write_traceparent(trace_id: str, span_id: str, *, is_sampled: bool) -> bytes:
    """Return a value of version 00."""
    return f"00-{trace_id}-{span_id}-{'01' if is_sampled else '00'}".encode()
