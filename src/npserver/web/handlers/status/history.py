"""Rates of the last minutes: each process with a status rule samples a few counters of all processes.

The deadline sweeper calls it every `PERIOD_S`, as long as a handler of status rules is there.
"""

from __future__ import annotations

from array import array
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
MAX_COUNTERS = 1800  # of which rates are kept

#: Counters of which rates are shown, those of which are there.
COUNTERS = (
    "http.requests", "http.responses.4xx", "http.responses.5xx", "http.sent_bytes", "http.received_bytes",
    "forward.sessions", "forward.sent_bytes", "dns.queries.udp", "dns.queries.tcp", "dns.queries.tls",
    "dns.queries.https", "dns.queries.quic",
)  # fmt: skip


class History:
    """The samples of one process."""

    __slots__ = ("_board", "_places", "_samples", "_users", "_watched", "deadline")

    def __init__(self, context: Context) -> None:
        self._board: Scoreboard = context.row.board
        self._watched = context.sweeper.watched
        #: Times, and totals at the places of their counters; -1: nothing has counted it yet.
        self._samples: deque[tuple[float, array[int]]] = deque(maxlen=SAMPLES + 1)
        self._users: WeakSet[object] = WeakSet()
        self._places: dict[str, int] = {name: place for place, name in enumerate(COUNTERS)}
        self.deadline = 0.0

    def start(self, user: object, names: Iterable[str]) -> None:
        """Sample from now on, as long as `user` is there; `names`: of more counters, the more important first."""
        self._users.add(user)
        wanted = list(dict.fromkeys((*COUNTERS, *names)))[:MAX_COUNTERS]
        new = [name for name in wanted if name not in self._places]
        if len(self._places) + len(new) > MAX_COUNTERS:  # after reloads
            self._places, new = {}, wanted
            self._samples.clear()
        for name in new:
            self._places[name] = len(self._places)
        self._watched.add(self)

    def expire(self, now: float) -> None:
        """Take a sample; called by the deadline sweeper."""
        if not self._users:
            self._watched.discard(self)
            self._samples.clear()
            return
        self.deadline = now + PERIOD_S - 0.1  # the sweeper comes up to a quarter of a second late
        slots, total = self._board.directory.names, self._board.total
        self._samples.append((now, array("q", [total(slots[name]) if name in slots else -1 for name in self._places])))

    def follows(self, name: str) -> bool:
        """Return whether samples of a counter are taken."""
        return name in self._places

    def rates(self, name: str, points: int = SAMPLES) -> list[float]:
        """Return how often a second it was counted, the oldest first, in at most so many values."""
        return self.sum_rates((name,), points)

    def sum_rates(self, names: Sequence[str], points: int = SAMPLES) -> list[float]:
        """Return how often a second any of them was counted, as `rates`."""
        step = max(1, -(-(len(self._samples) - 1) // points))
        samples = list(self._samples)[::-1][::step][::-1]
        places = [self._places[name] for name in names if name in self._places]
        found = []
        totals = [_total(values, places) for _, values in samples]
        for ((before, _), old), ((now, _), new) in pairwise(zip(samples, totals, strict=True)):
            if new >= 0:
                found.append(max(0, new - max(0, old)) / max(now - before, 0.001))
        return found

    def recent(self, name: str) -> int:
        """Return how often it was counted in the last minutes."""
        place, samples = self._places.get(name), self._samples
        if place is None or len(samples) < 2:
            return 0
        return max(0, _at(samples[-1][1], place) - _at(samples[0][1], place))


def _total(totals: array[int], places: Sequence[int]) -> int:
    """Return the sum of the totals at places; -1 if none of them was counted then."""
    size, found, has_any = len(totals), 0, False
    for place in places:
        if place < size and (value := totals[place]) >= 0:
            found += value
            has_any = True
    return found if has_any else -1


def _at(totals: array[int], place: int) -> int:
    """Return the total at a place; 0 if it was not counted then."""
    return max(0, totals[place]) if place < len(totals) else 0


HISTORY: PerProcess[History] = PerProcess(History)
