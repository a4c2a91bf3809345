"""The rules on the status page: how many requests each has answered lately, and how long these took.

Only where `metrics.times` is on: nothing counts them otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.observe.histogram import REQUEST_TIMES, RESPONSES, slot_name
from npserver.web.handlers.status.table import Figure, amount, chart, table
from npserver.web.handlers.status.times import HEADS, bucket_names, time_cells

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from npserver.web.handlers.status.history import History

MAX_SERIES = 30  # of which rates are kept
_HEADS = ("rule", "per second", "errors (5xx) per second", *HEADS)
_BUDGET = 6_000


def counters_of(series: Iterable[tuple[str, str]]) -> list[str]:
    """Return the names of the slots that `rule_table` needs. `series`: of the config, by `web.request_times.SERIES`."""
    return [name for one in list(series)[:MAX_SERIES] for name in (*bucket_names(REQUEST_TIMES, *one), _errors(one))]


def rule_table(series: Iterable[tuple[str, str]], history: History, paths: Mapping[str, str]) -> str:
    """Return the rules with requests in the last minutes; "" without any. `paths`: of rules without a name, by key."""
    rows = []
    for one in list(series)[:MAX_SERIES]:
        times = time_cells(history, REQUEST_TIMES, *one)
        if not any(times):
            continue
        rates = history.sum_rates(bucket_names(REQUEST_TIMES, *one), 30)
        errors = history.sum_rates([_errors(one)], 30)
        drawn = chart(rates, "requests per second")
        failed = Figure(f'<span class="bad">{amount(errors[-1])}</span>{chart(errors, "errors per second")}')
        rows.append(
            (
                " ".join(filter(None, (one[0], paths.get(one[0]), one[1]))),
                Figure(f"{amount(rates[-1])}{drawn}"),
                failed if any(errors) else "",
                *times,
            )
        )
    return table(_HEADS, rows, _BUDGET)


def _errors(one: tuple[str, str]) -> str:
    return slot_name(RESPONSES, *one, "5xx")
