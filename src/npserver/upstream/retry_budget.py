"""The retries of an upstream are counted, and with a budget they are at most a share of its requests.

So they do not add to an overload. Requests and retries of all workers are counted, on the scoreboard.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from npserver.upstream.retry import RetryPolicy

if TYPE_CHECKING:
    from npserver.runtime.context import Context
    from npserver.runtime.scoreboard import Row
    from npserver.upstream.target import Target

log = logging.getLogger("npserver.upstream")

PERIOD_S = 10.0
MIN_RETRIES = 10  # allowed in each period, however few requests there are


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedRetry(RetryPolicy):
    """The keys `retries` and `retry_on` of an upstream without `retry_budget`."""

    row: Row
    slot: int  # by `retries_slot`

    def spend(self) -> bool:
        """Count a retry. Return that it may be sent."""
        self.row.slots[self.slot] += 1
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetedRetry(RetryPolicy):
    """The keys `retries`, `retry_on` and `retry_budget` of an upstream."""

    budget: RetryBudget

    def has_budget(self) -> bool:
        """Return whether the upstream may be sent a retry now."""
        return self.budget.has_left()

    def spend(self) -> bool:
        """Take a retry from the budget. Return whether it may be sent."""
        return self.budget.take()


def retries_slot(row: Row, upstream: str) -> int:
    """Return the slot in which the retries of an upstream are counted."""
    return row.slot(f"upstream.{upstream}.retries")


class RetryBudget:
    """Counts the requests and retries of a period: it begins with the first retry, for all workers together."""

    # The slots of a worker: when the period began, in ms of the loop's time; the requests until then, as far as the
    # worker knew them; and its retries since.

    __slots__ = (
        "_base_slot", "_context", "_has_logged", "_name", "_refused_slot", "_retries_slot", "_share", "_since_slot",
        "_targets", "_total_slot",
    )  # fmt: skip

    def __init__(self, context: Context, name: str, targets: tuple[Target, ...], share: float) -> None:
        """Create it. `share`: retries per request that are allowed."""
        row = context.row
        self._context = context
        self._name = name
        self._targets = targets
        self._share = share
        self._total_slot = retries_slot(row, name)
        self._refused_slot = row.slot(f"upstream.{name}.retries_refused")
        self._since_slot = row.slot(f"budget.{name}.since")
        self._base_slot = row.slot(f"budget.{name}.base")
        self._retries_slot = row.slot(f"budget.{name}.retries")
        self._has_logged = False

    def __repr__(self) -> str:
        return f"<RetryBudget {self._name} {self._share:g}>"

    def take(self) -> bool:
        """Return whether one more retry is allowed, and count it."""
        if not self.has_left():
            return False
        slots = self._context.row.slots
        slots[self._retries_slot] += 1
        slots[self._total_slot] += 1
        return True

    def has_left(self) -> bool:
        """Return whether one more retry is allowed; count and log it if not."""
        slots = self._context.row.slots
        requests = self._join_period()
        rows = self._context.row.board.rows
        now = [row for row in rows if row[self._since_slot] == slots[self._since_slot]]
        retries = sum([row[self._retries_slot] for row in now])
        first_attempts = max(0, requests - min([row[self._base_slot] for row in now]) - retries)
        if retries < MIN_RETRIES + self._share * first_attempts:
            return True
        slots[self._refused_slot] += 1
        if not self._has_logged:
            self._has_logged = True
            message = "upstream %s: no more retries for now, %d for %d requests (upstreams.%s.retry_budget)"
            log.warning(message, self._name, retries, first_attempts, self._name)
        return False

    def _join_period(self) -> int:
        """Take part in the period of the other workers, or begin one. Return the number of requests so far."""
        row = self._context.row
        requests = sum([row.board.total(one.requests_slot) for one in self._targets])
        requests += sum([row.tallies[one.requests_tally] for one in self._targets])
        now = int(self._context.loop.time() * 1000)
        latest = max([one[self._since_slot] for one in row.board.rows])
        since = latest if latest and now < latest + PERIOD_S * 1000 else now
        if row.slots[self._since_slot] != since:
            row.slots[self._since_slot] = since
            row.slots[self._base_slot] = requests
            row.slots[self._retries_slot] = 0
            self._has_logged = False
        return requests
