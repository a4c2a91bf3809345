"""Histograms in the scoreboard: how many times were within each bound, over all workers.

`Histogram.observe` counts a time; `web.request_times` and `upstream.target` own the histograms.
`web.handlers.status.handler` shows them by `histogram_samples`. All histograms have the same bounds, so
that a reload leaves nothing that cannot be added up.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from npserver.observe.exemplars import Exemplars, find_exemplars
from npserver.observe.metrics import Family, Sample

if TYPE_CHECKING:
    from npserver.runtime.scoreboard import Row, Scoreboard

#: Upper bounds of the buckets, in seconds; a longer time is in one more, `+Inf`.
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

REQUEST_TIMES = Family(
    "npserver_http_request_duration_seconds", "histogram", "Time from a request's head to the end of its response."
)
RESPONSE_TIMES = Family(
    "npserver_upstream_response_seconds",
    "histogram",
    "Time from the choice of a target to the head of its response, connecting included.",
)
UPSTREAM_TIMES = Family(
    "npserver_http_upstream_response_seconds",
    "histogram",
    "Time from the choice of a target to the head of its response, by the rule of the request.",
)
RESPONSES = Family("npserver_http_rule_responses_total", "counter", "Responses of a rule by class of their status.")

_LABELS = {
    REQUEST_TIMES: ("rule", "host"),
    UPSTREAM_TIMES: ("rule",),
    RESPONSE_TIMES: ("upstream", "target"),
    RESPONSES: ("rule", "host", "class"),
}
_BY_NAME = {family.name: family for family in _LABELS}
SUM_CELL = len(BOUNDS_S) + 1  # place of the sum in `Histogram.slots`
_BOUNDS = (*map(repr, BOUNDS_S), "+Inf")  # `1.0`: OpenMetrics asks for it, and series stay the same in both formats
_SUM = "sum"  # the slot of microseconds, beside those of the buckets


class Histogram:
    """The times of one series, such as those of a rule. `labels`: the values of the family's labels.

    They are added to the scoreboard at the next sweep of the deadline sweeper: that costs half of writing each time.
    """

    __slots__ = ("counts", "exemplars", "is_pending", "row", "slots", "sum_s")

    def __init__(self, row: Row, family: Family, *labels: str, has_exemplars: bool = False) -> None:
        self.row = row
        #: The traces of requests, one for each bucket; None: none are kept.
        self.exemplars = Exemplars(row, slot_name(family, *labels), len(BOUNDS_S) + 1) if has_exemplars else None
        #: The slots of the buckets and of the sum, then those of a subclass; counts since the last sweep, likewise.
        self.slots = [row.slot(slot_name(family, *labels, str(n))) for n in range(len(BOUNDS_S) + 1)]
        self.slots.append(row.slot(slot_name(family, *labels, _SUM)))
        self.counts = [0] * len(self.slots)
        self.sum_s = 0.0
        self.is_pending = False

    def observe(self, took_s: float) -> None:
        """Count a time in seconds."""
        # hot: static-log
        self.counts[bisect_left(BOUNDS_S, took_s)] += 1
        self.sum_s += took_s
        if not self.is_pending:
            self.await_publishing()

    def observe_with(self, other: Histogram, took_s: float) -> None:
        """Count a time in seconds here and in another histogram: a quarter faster than to observe it twice."""
        # hot: proxy-small
        bucket = bisect_left(BOUNDS_S, took_s)
        self.counts[bucket] += 1
        self.sum_s += took_s
        if not self.is_pending:
            self.await_publishing()
        other.counts[bucket] += 1
        other.sum_s += took_s
        if not other.is_pending:
            other.await_publishing()

    def keep_trace(self, trace_id: str, took_s: float) -> None:
        """Have the trace of a request that was counted shown with its bucket, if `metrics.exemplars` is on."""
        if self.exemplars is not None:
            self.exemplars.keep(bisect_left(BOUNDS_S, took_s), trace_id, took_s)

    def await_publishing(self) -> None:
        """Have `publish` called at the next sweep."""
        self.is_pending = True
        self.row.pending.append(self)

    def publish(self) -> None:
        """Add the counts to the slots, and reset them."""
        self.is_pending = False
        microseconds = int(self.sum_s * 1e6)
        self.sum_s -= microseconds / 1e6
        counts, slots = self.counts, self.row.slots
        counts[SUM_CELL] = microseconds
        for number, slot in enumerate(self.slots):
            if counts[number]:
                slots[slot] += counts[number]
                counts[number] = 0


def slot_name(family: Family, *labels: str) -> str:
    """Return the name of a slot, which has the labels: names of rules and upstreams have no control characters."""
    return "\t".join((family.name, *labels))


def histogram_samples(board: Scoreboard) -> list[Sample]:
    """Return the samples of all histograms and of the counters beside them, those of one series one after another."""
    series: dict[tuple[Family, tuple[str, ...]], dict[str, int]] = {}
    found: dict[Family, list[Sample]] = {family: [] for family in _LABELS}
    for name, slot in list(board.directory.names.items()):
        head, *labels = name.split("\t")
        if (family := _BY_NAME.get(head)) is None:
            continue
        value = board.total(slot)
        if family is RESPONSES:
            found[family].append(Sample(family, _labelled(family, labels), value))
        else:
            series.setdefault((family, tuple(labels[:-1])), {})[labels[-1]] = value
    for (family, values), cells in series.items():
        found[family] += _series(board, family, values, cells)
    return [sample for samples in found.values() for sample in samples]


def _series(board: Scoreboard, family: Family, values: tuple[str, ...], cells: dict[str, int]) -> list[Sample]:
    """Return the samples of one histogram: buckets are cumulative."""
    count, samples, labels = 0, [], _labelled(family, values)
    exemplars = find_exemplars(board, slot_name(family, *values), len(_BOUNDS))
    for number, (bound, exemplar) in enumerate(zip(_BOUNDS, exemplars, strict=True)):
        in_bucket = cells.get(str(number), 0)
        count += in_bucket
        shown = exemplar if in_bucket else None  # its count may not be published yet
        samples.append(Sample(family, (*labels, ("le", bound)), count, "_bucket", shown))
    samples.append(Sample(family, labels, cells.get(_SUM, 0) / 1e6, "_sum"))
    samples.append(Sample(family, labels, count, "_count"))
    return samples


def _labelled(family: Family, values: tuple[str, ...] | list[str]) -> tuple[tuple[str, str], ...]:
    return tuple([(label, value) for label, value in zip(_LABELS[family], values, strict=True) if value])
