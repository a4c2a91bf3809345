"""Sends spans to a collector in batches, in the background (`tracing`).

Each process has one (`EXPORTER`). No request waits for it: what waits is bounded, and what does not fit, or what the
collector does not take, is dropped and counted. While the collector cannot be reached or asks for time, a batch waits
and is sent again. The log tells of the first failure, of the first spans that are dropped, and of the recovery.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from enum import IntEnum
from typing import TYPE_CHECKING

from npserver.runtime.context import AT_END, PerProcess
from npserver.runtime.tasks import spawn

if TYPE_CHECKING:
    from npserver.observe.tracing.collector import Collector, Outcome
    from npserver.observe.tracing.spans import Span
    from npserver.runtime.context import Context

log = logging.getLogger("npserver.server")

MAX_QUEUED = 8192  # spans, about 1 KB each, besides those of the batch
BATCH = 512
PERIOD_S = 1.0  # a span waits this long for others
MAX_PAUSE_S = 30.0  # after failures
RETRY_FOR_S = 300.0  # a batch is dropped that could not be sent for so long
WARN_EVERY_S = 60.0
FLUSH_S = 1.0  # for all that is left at shutdown

COUNTERS = ("tracing.spans.sent", "tracing.spans.dropped", "gauge.tracing.spans.waiting")


class _State(IntEnum):
    """What the log has been told of the collector."""

    GOOD = 0
    LATE = 1  # spans wait
    LOSING = 2  # spans are dropped


class SpanExporter:
    """The spans of one process. `use` is called when a config with `tracing` becomes active."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._slots = context.row.slots
        self._sent_slot, self._dropped_slot, self._waiting_slot = (context.row.slot(name) for name in COUNTERS)
        self._queue: deque[Span] = deque()
        self._batch: list[Span] = []  # that is being sent, or will be sent again
        self._batch_since = 0.0  # loop time of its first attempt; 0: there was none
        self._task: asyncio.Task[None] | None = None
        self._full = asyncio.Event()  # a batch is there: the period need not pass
        self._state = _State.GOOD
        self._next_warning = 0.0  # loop time before which nothing is told of a part of the spans
        self._changed = asyncio.Event()  # there is another collector: no pause for the former one
        self.collector: Collector | None = None
        AT_END.of(context).append(self.close)

    def __repr__(self) -> str:
        return f"<SpanExporter {self.collector!r} queued={len(self._queue) + len(self._batch)}>"

    def use(self, collector: Collector | None) -> None:
        """Send spans to this collector from now on, those that wait among them."""
        self.collector = collector
        self._changed.set()

    def add(self, span: Span) -> None:
        """Take a span. If too many wait, the oldest of them is dropped."""
        queue = self._queue
        if self.collector is None:
            self._slots[self._dropped_slot] += 1
            return
        if len(queue) >= MAX_QUEUED:
            queue.popleft()
            self._slots[self._dropped_slot] += 1
            self._tell(_State.LOSING, f"more than {MAX_QUEUED} wait")
        queue.append(span)
        self._show_waiting()
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
                while (self._queue or self._batch) and await self._send() == 0.0:
                    pass
        self._slots[self._dropped_slot] += len(self._queue) + len(self._batch)
        self._queue.clear()
        self._batch.clear()
        self._show_waiting()
        self.collector = None

    async def _run(self) -> None:
        failures = 0
        try:
            while self._queue or self._batch:
                if failures == 0:
                    await _wait(self._full, PERIOD_S)
                self._changed.clear()
                pause_s = await self._send()
                failures = failures + 1 if pause_s else 0
                if pause_s:  # a full queue does not shorten it
                    backoff_s = min(PERIOD_S * 2 ** min(failures, 10), MAX_PAUSE_S)
                    if await _wait(self._changed, max(pause_s, backoff_s * random.uniform(0.8, 1.0))):
                        failures = 0
        finally:
            self._task = None

    async def _send(self) -> float:
        """Send one batch. Return how long to pause after it at the least, in seconds; 0.0: it has gone well."""
        queue, collector = self._queue, self.collector
        if collector is None:
            return PERIOD_S
        while queue and len(self._batch) < BATCH:
            self._batch.append(queue.popleft())
        if len(queue) < BATCH:
            self._full.clear()
        now = self._context.loop.time()
        self._batch_since = self._batch_since or now
        outcome = await collector.send(self._batch)
        self._note(outcome, is_old=now - self._batch_since >= RETRY_FOR_S)
        self._show_waiting()
        return 0.0 if outcome.is_taken else max(outcome.wait_s, PERIOD_S)

    def _note(self, outcome: Outcome, *, is_old: bool) -> None:
        if outcome.is_passing and not is_old:
            self._tell(_State.LATE, outcome.fault)
            return
        self._slots[self._sent_slot] += len(self._batch) - outcome.rejected
        self._slots[self._dropped_slot] += outcome.rejected
        self._batch.clear()
        self._batch_since = 0.0
        if not outcome.is_taken:
            self._tell(_State.LOSING, outcome.fault)
            return
        address, now = self.collector and self.collector.url.address, self._context.loop.time()
        if outcome.fault and now >= self._next_warning:
            self._next_warning = now + WARN_EVERY_S
            what = f"has not taken {outcome.rejected} spans" if outcome.rejected else "warns"
            log.warning("the collector of traces %s (tracing.to) %s: %s", address, what, outcome.fault)
        if self._state is not _State.GOOD:
            self._state = _State.GOOD
            log.info("traces can be sent to %s again", address)

    def _tell(self, state: _State, why: str) -> None:
        """Tell the log once that it has come to this."""
        if state > self._state and self.collector is not None:
            self._state = state
            what = "dropping spans" if state is _State.LOSING else "trying again"
            log.warning("cannot send traces to %s (tracing.to), %s: %s", self.collector.url.address, what, why)

    def _show_waiting(self) -> None:
        self._slots[self._waiting_slot] = len(self._queue) + len(self._batch)


async def _wait(event: asyncio.Event, limit_s: float) -> bool:
    """Wait for an event, up to so long. Return whether it has come."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            return await event.wait()
    return False


#: The exporter of a process.
EXPORTER = PerProcess(SpanExporter)
