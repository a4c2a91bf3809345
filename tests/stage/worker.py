"""The data plane of one process for tests: a `Context` over any loop, one that stands still included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from npserver.net.poller import POLLER
from npserver.runtime.context import Context
from npserver.runtime.deadlines import Sweeper
from npserver.runtime.pubsub import PubSub
from npserver.runtime.scoreboard import Scoreboard


class StillLoop:
    """A loop that only tells the time: enough for objects that are compiled and never serve."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def time(self) -> float:
        return self.now

    def call_later(self, delay_s: float, callback: object, *args: object) -> None:
        """Ignore the timer: time stands still."""


class SilentLog:
    """An access log that is off."""

    enabled = False
    gives_ids = False


def make_context(
    loop: Any = None, worker: int = 0, *, board: Scoreboard | None = None, access_log: Any = None
) -> Context:
    """Return a worker's context: by default over a `StillLoop`, with an access log that is off."""
    loop = loop or StillLoop()
    row = (board or Scoreboard(1, b"seed")).row(worker)
    return Context(loop, worker, row, Sweeper(loop), access_log or SilentLog(), PubSub())


def close_context(context: Context) -> None:
    """Close the sweeper of a context, and its poller if there is one."""
    if (poller := context.made.get(POLLER)) is not None:
        assert repr(poller) == "<Poller 0>"
        poller.close()
    context.sweeper.close()


@asynccontextmanager
async def running_context() -> AsyncIterator[Context]:
    """Yield a context over the running loop."""
    context = make_context(asyncio.get_running_loop())
    yield context
    close_context(context)
