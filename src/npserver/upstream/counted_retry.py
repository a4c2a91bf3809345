"""Counts the requests of an upstream that are sent again, for the metrics. `upstream.retry_budget` limits them too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from npserver.upstream.retry import RetryPolicy

if TYPE_CHECKING:
    from npserver.runtime.scoreboard import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedRetry(RetryPolicy):
    """The keys `retries` and `retry_on` of an upstream."""

    row: Row
    slot: int

    def spend(self) -> bool:
        """Count a retry. Return that it may be sent."""
        self.row.slots[self.slot] += 1
        return True


def retries_slot(row: Row, upstream: str) -> int:
    """Return the slot in which the retries of an upstream are counted."""
    return row.slot(f"upstream.{upstream}.retries")
