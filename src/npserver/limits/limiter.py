"""One rate limit: whether a key may go on now, counted over all workers (GCRA, the generic cell rate algorithm).

Each key has one number in the table that all processes share (`limits.table`): the time at which it has its whole burst
again. One more takes it an interval further into the future; further than the burst allows, it is refused, and then
counts nothing. So a key that is refused gets on as soon as the first interval has passed, however often it asks.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING

from npserver.http.memo import Memo, is_short
from npserver.limits.log_pace import LogPace
from npserver.limits.table import LOCK_S, WAYS

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.limits.rate import Rate
    from npserver.runtime.scoreboard import Row

MAX_PLACES = 8192  # keys of a limit whose place in the table a process remembers


class RateLimiter:
    """A limit in one process. Limiters with the same `identity` share what is counted, over all processes.

    Args:
        name: of the limit, for its counters: `api`, `dispatch[3]`.
        identity: what tells it from other limits, also after a reload.
        to_key: returns what is counted together with an argument of `take`, such as the network of an address.
        is_of_datagrams: whether the senders may be forged; it is counted in a table apart then.
    """

    __slots__ = ("_acquire", "_allowed", "_burst_ns", "_cells", "_evicted", "_identity", "_interval_ns",
                 "_limited", "_pace", "_places", "_release", "_row", "_table", "_tallies",
                 "_to_key", "name", "rate")  # fmt: skip

    def __init__(
        self,
        row: Row,
        rate: Rate,
        name: str,
        identity: str,
        to_key: Callable[[str], str] = str,
        *,
        is_of_datagrams: bool = False,
    ) -> None:
        self.rate = rate
        self.name = name
        self._table = table = row.board.datagram_rates if is_of_datagrams else row.board.rates
        self._identity = identity.encode("utf-8", "surrogatepass") + b"\0"
        self._to_key = to_key
        self._cells = table.cells
        self._acquire = table.acquire
        self._release = table.release
        self._interval_ns = rate.interval_ns
        self._burst_ns = rate.span_ns
        self._places: Memo[str, list[int]] = Memo(self._place, MAX_PLACES, is_short)
        self._row = row
        self._tallies = row.tallies
        self._allowed = row.tally(f"limits.{name}.allowed")
        self._limited = row.slot(f"limits.{name}.limited")
        self._evicted = row.slot("limits.evicted")
        self._pace = LogPace()

    def __repr__(self) -> str:
        return f"<RateLimiter {self.name} {self.rate.burst} in {self.rate.span_ns / 10**9:g} s>"

    def take(self, key: str) -> int:
        """Count one for a key. Return 0; or the nanoseconds until it may go on, if it is over its limit."""
        # hot: edge-limit
        place = self._places[key]
        tag, index = place
        cells = self._cells
        now = monotonic_ns()
        has_lock = self._acquire(True, LOCK_S)
        try:
            if cells[index] != tag:
                index = place[1] = self._find(tag, index, now)
            time = cells[index + WAYS]
            time = (now if time < now else time) + self._interval_ns  # noqa: FURB136 - a call of max() costs more
            wait = time - now - self._burst_ns
            if wait > 0:
                return wait
            cells[index + WAYS] = time
        finally:
            if has_lock:
                self._release()
        self._tallies[self._allowed] += 1
        return 0

    def count_limited(self) -> int:
        """Count one that was over the limit. Return the level of the line about it: INFO every 10 s, else DEBUG."""
        self._row.slots[self._limited] += 1
        return self._pace.level(monotonic_ns())

    def _place(self, key: str) -> list[int]:
        return list(self._table.address(self._identity + self._to_key(key).encode("utf-8", "surrogatepass")))

    def _find(self, tag: int, index: int, now: int) -> int:
        found, has_evicted = self._table.find(tag, index, now)
        if has_evicted:
            self._row.slots[self._evicted] += 1
        return found
