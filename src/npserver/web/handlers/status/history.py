"""Rates of the last minutes: each process with a status rule samples a few counters of all processes.

The deadline sweeper calls it every `PERIOD_S`, as long as a handler of status rules is there.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING
from weakref import WeakSet

from npserver.runtime.context import PerProcess

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from npserver.runtime.context import Context
    from npserver.runtime.scoreboard import Scoreboard

PERIOD_S = 2.0
SAMPLES = 90
MAX_COUNTERS = 1000  # of which rates are kept

#: Counters of which rates are shown, those of which are there.
COUNTERS = (
    "http.requests", "http.responses.4xx", "http.responses.5xx", "http.sent_bytes", "http.received_bytes",
    "forward.sessions", "forward.sent_bytes", "dns.queries.udp", "dns.queries.tcp", "dns.queries.tls",
    "dns.queries.https", "dns.queries.quic",
)  # fmt: skip


class History:
    """The samples of one process."""

    __slots__ = ("_board", "_samples", "_users", "_wanted", "_watched", "deadline")

    def __init__(self, context: Context) -> None:
        self._board: Scoreboard = context.row.board
        self._watched = context.sweeper.watched
        self._samples: deque[tuple[float, dict[str, int]]] = deque(maxlen=SAMPLES + 1)  # times, and totals by name
        self._users: WeakSet[object] = WeakSet()
        self._wanted: tuple[str, ...] = COUNTERS
        self.deadline = 0.0

    def start(self, user: object, names: Iterable[str]) -> None:
        """Sample from now on, as long as `user` is there; `names`: of more counters."""
        self._users.add(user)
        self._wanted = tuple(dict.fromkeys((*COUNTERS, *names)))[:MAX_COUNTERS]
        self._watched.add(self)

    def expire(self, now: float) -> None:
        """Take a sample; called by the deadline sweeper."""
        if not self._users:
            self._watched.discard(self)
            self._samples.clear()
            return
        self.deadline = now + PERIOD_S - 0.1  # the sweeper comes up to a quarter of a second late
        slots, total = self._board.directory.names, self._board.total
        self._samples.append((now, {name: total(slots[name]) for name in self._wanted if name in slots}))

    def rates(self, name: str, points: int = SAMPLES) -> list[float]:
        """Return how often a second it was counted, the oldest first, in at most so many values."""
        return self.sum_rates((name,), points)

    def sum_rates(self, names: Sequence[str], points: int = SAMPLES) -> list[float]:
        """Return how often a second any of them was counted, as `rates`."""
        step = max(1, -(-(len(self._samples) - 1) // points))
        samples = list(self._samples)[::-1][::step][::-1]
        found = []
        for (before, old), (now, new) in pairwise(samples):
            counts = [max(0, new[name] - old.get(name, 0)) for name in names if name in new]
            if counts:
                found.append(sum(counts) / max(now - before, 0.001))
        return found

    def recent(self, name: str) -> int:
        """Return how often it was counted in the last minutes."""
        samples = self._samples
        if len(samples) < 2:
            return 0
        return max(0, samples[-1][1].get(name, 0) - samples[0][1].get(name, 0))


HISTORY: PerProcess[History] = PerProcess(History)
