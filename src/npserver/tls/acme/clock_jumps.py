"""Waits that end early when the wall clock jumps: it was set, or the machine was suspended.

asyncio measures time by the monotonic clock. Whoever waits for a time of the wall clock looks again after a jump.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

log = logging.getLogger("npserver.tls")

PERIOD_S = 1.0  # between two looks at the clock
JUMP_S = 5.0  # within a period; less is the slewing of a time service, which changes nothing here


class ClockJumps:
    """The jumps of a clock.

    Args:
        clock: seconds since 1970.
    """

    __slots__ = ("_clock", "_next")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next = asyncio.Event()  # set by the next jump

    def __repr__(self) -> str:
        return "<ClockJumps>"

    @property
    def next(self) -> asyncio.Event:
        """The event of the next jump. Whoever reads the clock takes it before."""
        return self._next

    async def run(self) -> None:
        """Look for jumps until cancelled."""
        before = self._ahead_s()
        while True:
            await asyncio.sleep(PERIOD_S)
            now = self._ahead_s()
            if abs(now - before) > JUMP_S:
                log.info("the clock has jumped by %+.0f s: the certificates of CAs are looked at again", now - before)
                jumped, self._next = self._next, asyncio.Event()
                jumped.set()
            before = now

    def _ahead_s(self) -> float:
        """Return by how much the clock is ahead of the loop's, which does not jump."""
        return self._clock() - asyncio.get_running_loop().time()


async def wait_for(jump: asyncio.Event, most_s: float) -> None:
    """Wait for a jump, at most so long."""
    try:
        async with asyncio.timeout(most_s):
            await jump.wait()
    except TimeoutError:
        pass
