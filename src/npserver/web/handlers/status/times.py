"""How long requests of rules and responses of targets took in the last minutes: cells of the tables of both.

Only where `metrics.times` is on: nothing measures them otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.observe.histogram import BOUNDS_S, slot_name
from npserver.web.handlers.status.table import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.observe.metrics import Family
    from npserver.web.handlers.status.history import History

HEADS = ("half within", "95 % within", "99 % within")
_SHARES = (0.5, 0.95, 0.99)


def bucket_names(family: Family, *labels: str) -> list[str]:
    """Return the names of the slots of a histogram's buckets."""
    return [slot_name(family, *labels, str(number)) for number in range(len(BOUNDS_S) + 1)]


def time_cells(history: History, family: Family, *labels: str) -> list[Figure]:
    """Return a cell for each of `HEADS`: empty ones if nothing was measured. `labels`: of the histogram."""
    is_followed = history.follows(slot_name(family, *labels, "0"))
    counts = [history.recent(name) for name in bucket_names(family, *labels)] if is_followed else []
    if not any(counts):
        return [Figure("")] * len(HEADS)
    return [Figure(_duration(quantile(counts, share))) for share in _SHARES]


def quantile(counts: Sequence[int], share: float) -> float:
    """Return the time in seconds that this share of requests took at most, as Prometheus estimates it.

    `counts`: of the buckets of `BOUNDS_S`, and of longer times, for which the last bound stands.
    """
    rank, below, low = share * sum(counts), 0, 0.0
    for bound, count in zip(BOUNDS_S, counts, strict=False):
        if count and below + count >= rank:
            return low + (bound - low) * (rank - below) / count
        below += count
        low = bound
    return BOUNDS_S[-1]


def _duration(seconds: float) -> str:
    if seconds >= BOUNDS_S[-1]:
        return f"over {BOUNDS_S[-1]:g} s"
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.2g} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"
