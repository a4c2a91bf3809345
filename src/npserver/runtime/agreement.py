"""Values that every worker has taken before their publisher goes on, such as the answers to a CA's challenges.

A value goes to all processes by `runtime.pubsub`; each says that it has taken it by a number in its row of the
scoreboard, which the publisher reads. A worker that starts later gets the latest value before it serves anybody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npserver.runtime.context import Context

_LOOK_S = 0.01


class Agreement:
    """One topic in one process. Make it while a config is compiled, so that all processes number its slot alike.

    Args:
        topic: a name, such as `acme:answers`.
        taken: called with each value; once it returns, the process answers by it.
    """

    __slots__ = ("_context", "_slot", "_taken", "_topic")

    def __init__(self, context: Context, topic: str, taken: Callable[[Any], None]) -> None:
        self._context = context
        self._topic = topic
        self._taken = taken
        self._slot = context.row.slot(f"gauge.taken.{topic}")
        context.pubsub.subscribe(topic, self._take)

    def __repr__(self) -> str:
        return f"<Agreement {self._topic}>"

    async def publish(self, value: Any, limit_s: float) -> list[int]:
        """Publish a value, and wait until all workers have taken it, at most `limit_s`.

        Return the numbers of the workers that have not: they are starting, ending or busy.
        """
        loop, rows = self._context.loop, self._context.row.board.rows[1:]  # the first is the controller's
        version = time.time_ns()  # a new controller does not repeat the numbers of its predecessor
        self._context.pubsub.publish(self._topic, {"version": version, "value": value})
        end = loop.time() + limit_s
        while True:
            late = [number for number, row in enumerate(rows) if row[self._slot] != version]
            if not late or loop.time() > end:
                return late
            await asyncio.sleep(_LOOK_S)

    def _take(self, message: Any) -> None:
        self._taken(message["value"])
        self._context.row.slots[self._slot] = message["version"]
