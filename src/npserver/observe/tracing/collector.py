"""A collector of traces: sends it a batch by OTLP/HTTP with JSON, and reads what it says of that.

https://opentelemetry.io/docs/specs/otlp/#otlphttp. `observe.tracing.exporter` calls `Collector.send`;
`web.trace_collector` makes it of the config.
"""

from __future__ import annotations

import asyncio
import re
import time
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from npserver.http.dates import retry_after_s
from npserver.observe.tracing.spans import encode_spans
from npserver.regex import regex
from npserver.runtime.http_get import Answer, NoAnswer, Post, Trust, Url, post

if TYPE_CHECKING:
    from npserver.observe.tracing.spans import Span

TIMEOUT_S = 5.0
MAX_ANSWER_BYTES = 64 << 10
MAX_RETRY_AFTER_S = 300.0
#: Statuses at which the same may be sent again later; the batch is lost at other failures (OTLP/HTTP, "Failures").
_PASSING = frozenset({429, 502, 503, 504})
_RETRY_AFTER = regex(rb"^retry-after:([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_GZIP_LEVEL, _GZIP_FORM = 1, 31


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of a batch."""

    is_taken: bool = False  # by the collector, perhaps but for some spans
    rejected: int = 0  # spans that the collector has not taken, if the batch is done with
    fault: str = ""  # why, or a warning; "": it has taken all
    is_passing: bool = False  # the batch may be sent again
    wait_s: float = 0.0  # how long the collector asks not to be sent anything


class Collector(Struct, frozen=True, eq=False):
    """A collector of the config."""

    url: Url
    service: str  # the name of this server that it shows
    fields: str = ""  # field lines of the config, each with its CRLF
    trust: Trust | None = None
    compresses: bool = False

    def __repr__(self) -> str:
        return f"<Collector {self.url!r}>"

    async def send(self, spans: Sequence[Span]) -> Outcome:
        """Send spans. The encoding lets the loop run in between."""
        body = await encode_spans(self.service, spans)
        fields = f"Content-Type: application/json\r\n{self.fields}"
        if self.compresses:
            body = await asyncio.to_thread(zlib.compress, body, _GZIP_LEVEL, _GZIP_FORM)
            fields += "Content-Encoding: gzip\r\n"
        try:
            answer = await post(
                self.url, Post(fields, body), timeout_s=TIMEOUT_S, max_bytes=MAX_ANSWER_BYTES, trust=self.trust
            )
        except NoAnswer as error:
            return Outcome(rejected=len(spans), fault=str(error), is_passing=True)
        if 200 <= answer.status < 300:
            return _taken(answer.body, len(spans))
        wait_s = _retry_after_s(answer) if answer.status in _PASSING else 0.0
        return Outcome(
            rejected=len(spans),
            fault=f"status {answer.status}",
            is_passing=answer.status in _PASSING,
            wait_s=wait_s,
        )


class _PartialSuccess(Struct, rename="camel"):
    rejected_spans: str | int = 0  # 64-bit integers are text in JSON
    error_message: str = ""


class _Response(Struct, rename="camel"):
    partial_success: _PartialSuccess | None = None


def _taken(body: bytes, spans: int) -> Outcome:
    """Return what an answer with a good status says of so many spans."""
    try:
        partial = msgspec.json.decode(body or b"{}", type=_Response).partial_success
        rejected = int(partial.rejected_spans) if partial is not None else 0
    except (msgspec.DecodeError, ValueError):
        return Outcome(rejected=spans, fault="the answer is not that of a collector: is the URL right?")
    if partial is None or (rejected <= 0 and not partial.error_message):
        return Outcome(is_taken=True)
    reason = partial.error_message[:200] or "no reason is given"
    return Outcome(is_taken=True, rejected=max(0, min(rejected, spans)), fault=reason)


def _retry_after_s(answer: Answer) -> float:
    found = _RETRY_AFTER.search(answer.fields)
    value = found[1].decode("latin-1") if found is not None else None
    return min(retry_after_s(value, time.time()) or 0.0, MAX_RETRY_AFTER_S)
