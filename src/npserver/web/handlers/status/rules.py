"""The rules on the status page: how many requests each has answered lately, and how long these took.

Only where `metrics.times` is on: nothing counts them otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.observe.histogram import BOUNDS_S, REQUEST_TIMES, RESPONSES, slot_name
from npserver.web.handlers.status.table import Markup, amount, chart, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from npserver.web.handlers.status.history import History

MAX_SERIES = 30  # of which rates are kept
_HEADS = ("rule", "per second", "errors (5xx) per second", "half within", "95 % within", "99 % within")
_BUDGET = 8_000


def rule_series(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return rule and host of each series of request times; `names`: of all slots."""
    found: dict[tuple[str, str], None] = {}
    for name in names:
        family, *labels = name.split("\t")
        if family == REQUEST_TIMES.name:
            found[labels[0], labels[1]] = None
    return list(found)


def counters_of(series: Iterable[tuple[str, str]]) -> list[str]:
    """Return the names of the slots that `rule_table` needs."""
    return [name for one in list(series)[:MAX_SERIES] for name in (*_buckets(one), _errors(one))]


def rule_table(series: Iterable[tuple[str, str]], history: History) -> str:
    """Return the rules with requests in the last minutes; "" without any."""
    rows = []
    for one in list(series)[:MAX_SERIES]:
        counts = [history.recent(name) for name in _buckets(one)]
        if not any(counts):
            continue
        rates = history.sum_rates(_buckets(one), 30)
        errors = history.sum_rates([_errors(one)], 30)
        drawn = chart(rates, "requests per second")
        failed = Markup(f'<span class="bad">{amount(errors[-1])}</span>{chart(errors, "errors per second")}')
        rows.append(
            (
                " ".join(filter(None, one)),
                Markup(f"{amount(rates[-1])}{drawn}"),
                failed if any(errors) else "",
                *[_duration(quantile(counts, share)) for share in (0.5, 0.95, 0.99)],
            )
        )
    return table(_HEADS, rows, _BUDGET)


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


def _buckets(one: tuple[str, str]) -> list[str]:
    return [slot_name(REQUEST_TIMES, *one, str(number)) for number in range(len(BOUNDS_S) + 1)]


def _errors(one: tuple[str, str]) -> str:
    return slot_name(RESPONSES, *one, "5xx")
