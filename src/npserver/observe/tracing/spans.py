"""Spans, and their form on the wire: OTLP/HTTP with JSON (https://opentelemetry.io/docs/specs/otlp/)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from npserver import __version__

INTERNAL, SERVER, CLIENT = 1, 2, 3  # kinds of spans
_ERROR = 2  # code of a status
_SDK = {
    "service.version": __version__,
    "telemetry.sdk.name": "npserver",
    "telemetry.sdk.language": "python",
    "telemetry.sdk.version": __version__,
}
_AT_ONCE = 32  # spans that are encoded at once


class Span(Struct, eq=False):
    """A step of a request. Times are nanoseconds since 1970."""

    trace_id: str  # 32 hexadecimal digits
    span_id: str  # 16
    parent_id: str  # 16, or ""
    name: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: dict[str, str | int]
    error: str = ""  # why it failed; "": it did not


async def encode_spans(service: str, spans: Sequence[Span]) -> bytes:
    """Return an ExportTraceServiceRequest. `service`: the name that the collector shows.

    A span takes some 10 us: the event loop may do other things after each of a few.
    """
    written: list[msgspec.Raw] = []
    for number, span in enumerate(spans, 1):
        written.append(msgspec.Raw(msgspec.json.encode(_span(span))))
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
    about: dict[str, str | int] = {
        "service.name": service,
        "service.version": __version__,
        "host.name": socket.gethostname(),
        **_SDK,
    }
    resource = {"attributes": _attributes(about)}
    scope = {"name": "npserver", "version": __version__}
    scoped = [{"scope": scope, "spans": written}]
    return msgspec.json.encode({"resourceSpans": [{"resource": resource, "scopeSpans": scoped}]})


def _span(span: Span) -> dict[str, Any]:
    written = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _attributes(span.attributes),
    }
    if span.parent_id:
        written["parentSpanId"] = span.parent_id
    if span.error:
        written["status"] = {"code": _ERROR, "message": span.error}
    return written


def _attributes(values: dict[str, str | int]) -> list[dict[str, Any]]:
    """Return attributes; 64-bit integers are text in JSON."""
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in values.items()
    ]
