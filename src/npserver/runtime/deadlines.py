"""The deadline sweeper: one timer for all timeouts of a process, instead of a timer for each.

Four times a second it compares the `deadline` of each watched object with the clock, and calls `expire(now)` where it
has passed, again at each sweep until the object moves its deadline. Setting a deadline is an assignment.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

NEVER = float("inf")  # the deadline of an object that waits for nothing
PERIOD_S = 0.25

log = logging.getLogger("npserver.server")


class Watched(Protocol):
    """An object with a deadline."""

    deadline: float  # by `loop.time()`, or `NEVER`

    def expire(self, now: float) -> None:
        """Called when the deadline has passed."""


class Sweeper:
    """The deadline sweeper of one process."""

    __slots__ = ("_handle", "_loop", "now", "watched")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.now = loop.time()  # of the last sweep: read instead of the clock where a period is no matter
        self.watched: set[Watched] = set()
        self._handle: asyncio.TimerHandle | None = loop.call_later(PERIOD_S, self._sweep)

    def close(self) -> None:
        """Stop sweeping."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _sweep(self) -> None:
        now = self.now = self._loop.time()
        for one in [one for one in self.watched if one.deadline <= now]:
            try:
                one.expire(now)
            except Exception:  # an error in one object must not stop the timeouts of the others
                log.exception("error in the timeout of %r", one)
        if self._handle is not None:
            self._handle = self._loop.call_later(PERIOD_S, self._sweep)
