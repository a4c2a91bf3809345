"""Sends spans to a collector in batches, in the background: OTLP/HTTP with JSON (`tracing.to`).

Each process has one (`EXPORTER`). No request waits for it: the queue is bounded, and what does not fit, or what the
collector does not take, is dropped and counted. The log tells of the first failure and of the recovery.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from npserver.observe.tracing.spans import Span, encode_spans
from npserver.runtime.context import AT_END, PerProcess
from npserver.runtime.http_get import NoAnswer, Url, post
from npserver.runtime.tasks import spawn

if TYPE_CHECKING:
    from npserver.runtime.context import Context

log = logging.getLogger("npserver.server")

MAX_QUEUED = 8192  # spans, about 1 KB each
BATCH = 512
PERIOD_S = 1.0  # a span waits this long for others
TIMEOUT_S = 5.0  # of the collector
MAX_PAUSE_S = 30.0  # after failures
FLUSH_S = 1.0  # for all that is left at shutdown
MAX_ANSWER_BYTES = 64 << 10

SENT, DROPPED = "tracing.spans.sent", "tracing.spans.dropped"


class _PartialSuccess(Struct, rename="camel"):
    rejected_spans: str | int = 0
    error_message: str = ""


class _Answer(Struct, rename="camel"):
    partial_success: _PartialSuccess | None = None


class SpanExporter:
    """The spans of one process. `to` and `service` are set when a config with `tracing` becomes active."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._queue: list[Span] = []
        self._task: asyncio.Task[None] | None = None
        self._full = asyncio.Event()  # a batch is there: the period need not pass
        self._is_failing = False
        self.to: Url | None = None
        self.service = ""
        AT_END.of(context).append(self.close)

    def __repr__(self) -> str:
        return f"<SpanExporter {self.to!r} queued={len(self._queue)}>"

    def add(self, span: Span) -> None:
        """Take a span; it is dropped if the queue is full."""
        queue = self._queue
        if self.to is None or len(queue) >= MAX_QUEUED:
            self._count(DROPPED, 1)
            return
        queue.append(span)
        if len(queue) >= BATCH:
            self._full.set()
        if self._task is None:
            self._task = spawn(self._run(), "sending traces", None)

    async def close(self) -> None:
        """Send what is left, within `FLUSH_S`; the rest is dropped."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                while self._queue and await self._send():
                    pass
        self._count(DROPPED, len(self._queue))
        self._queue.clear()
        self.to = None

    async def _run(self) -> None:
        pause_s = PERIOD_S
        try:
            while self._queue:
                if pause_s > PERIOD_S:
                    await asyncio.sleep(pause_s)  # a full queue does not shorten it
                else:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(PERIOD_S):
                            await self._full.wait()
                pause_s = PERIOD_S if await self._send() else min(pause_s * 2, MAX_PAUSE_S)
        finally:
            self._task = None

    async def _send(self) -> bool:
        """Send one batch. Return whether the collector has taken it."""
        batch = self._queue[:BATCH]
        if self.to is None or not batch:
            return False
        try:
            status, answer = await post(
                self.to,
                encode_spans(self.service, batch),
                "application/json",
                timeout_s=TIMEOUT_S,
                max_bytes=MAX_ANSWER_BYTES,
            )
            fault = "" if 200 <= status < 300 else f"status {status}"
            rejected, why = _rejected(answer) if not fault else (len(batch), "")
        except NoAnswer as error:
            fault, rejected, why = str(error), len(batch), ""
        del self._queue[: len(batch)]
        if len(self._queue) < BATCH:
            self._full.clear()
        self._count(SENT, len(batch) - rejected)
        self._count(DROPPED, rejected)
        if (fault or rejected) and not self._is_failing:
            log.warning("cannot send traces to %s (tracing.to), dropping spans: %s", self.to.address, fault or why)
        elif self._is_failing and not (fault or rejected):
            log.info("traces can be sent to %s again", self.to.address)
        self._is_failing = bool(fault or rejected)
        return not fault

    def _count(self, name: str, number: int) -> None:
        row = self._context.row
        row.slots[row.slot(name)] += number


def _rejected(answer: bytes) -> tuple[int, str]:
    """Return how many spans a collector has not taken, and why."""
    try:
        partial = msgspec.json.decode(answer or b"{}", type=_Answer).partial_success
        return (int(partial.rejected_spans), partial.error_message[:200]) if partial is not None else (0, "")
    except (msgspec.DecodeError, ValueError):
        return 0, ""  # the status says that it has them


#: The exporter of a process.
EXPORTER = PerProcess(SpanExporter)
