"""One timer for all deadlines of a process: a sweep a few times a second instead of a timer per wait.

A watched object has `deadline`, a time of `loop.time()` or `inf`, which it sets as often as it likes at no cost, and
`expire(now)`, called once the deadline has passed. It is called again at each sweep until the deadline moves.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

NEVER = float("inf")
PERIOD_S = 0.25

log = logging.getLogger("npserver.server")


class Watched(Protocol):
    """What the sweeper looks at."""

    deadline: float

    def expire(self, now: float) -> None:
        """The deadline has passed."""


class Sweeper:
    """The deadlines of one process."""

    __slots__ = ("_handle", "_loop", "now", "watched")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.now = loop.time()  # at the last sweep: for deadlines that may be a period late, without asking the clock
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
            except Exception:  # one faulty connection must not keep the others' deadlines from being kept
                log.exception("error while ending %r", one)
        if self._handle is not None:
            self._handle = self._loop.call_later(PERIOD_S, self._sweep)
