"""How long the requests of each rule take, and how they are answered, for the metrics (`metrics.times`).

`web.compile_route` makes one for each rule; the server calls `count` at the end of a request. How long the targets of a
rule take to respond is counted beside it, by those who ask them: `web.handlers.proxy`. Without the key there are none,
and nothing is measured for them.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from npserver.observe.config import keeps_exemplars
from npserver.observe.histogram import (
    BOUNDS_S,
    REQUEST_TIMES,
    RESPONSES,
    SUM_CELL,
    UPSTREAM_TIMES,
    Histogram,
    slot_name,
)
from npserver.runtime.compilation import PerCompilation

if TYPE_CHECKING:
    from npserver.runtime.compilation import Compilation
    from npserver.runtime.scoreboard import Row

_CLASSES = "12345"

#: Rule and host of each series of a config, "" for no host, in the order of the rules. It is complete when all is
#: compiled; the scoreboard has those of former configs too.
SERIES: PerCompilation[dict[tuple[str, str], None]] = PerCompilation(lambda _: {})


class Series(Histogram):
    """The requests of one rule, or of one of its hosts."""

    __slots__ = ()

    def __init__(self, row: Row, rule: str, host: str, *, has_exemplars: bool = False) -> None:
        Histogram.__init__(self, row, REQUEST_TIMES, rule, host, has_exemplars=has_exemplars)
        self.slots += [row.slot(slot_name(RESPONSES, rule, host, f"{digit}xx")) for digit in _CLASSES]
        self.counts += [0] * len(_CLASSES)

    def count(self, host: str, status: int, took_s: float) -> None:
        """Count a request to a host: the status of its response, and how long it took in seconds."""
        # hot: static-log
        counts = self.counts
        counts[bisect_left(BOUNDS_S, took_s)] += 1
        counts[SUM_CELL + (status // 100 if 100 <= status < 600 else 5)] += 1
        self.sum_s += took_s
        if not self.is_pending:
            self.await_publishing()

    def add_exemplar(self, host: str, trace_id: str, took_s: float) -> None:
        """Keep the trace of a request that was counted, if `metrics.exemplars` is on."""
        self.keep_trace(trace_id, took_s)


class HostSeries:
    """The requests of one rule, by the names and patterns of its `host`.

    Those are all hosts that a series can be of: one that a client makes up is counted for the pattern that it matches.
    """

    __slots__ = ("_exact", "_patterns")

    def __init__(self, row: Row, rule: str, hosts: list[str], *, has_exemplars: bool = False) -> None:
        series = {host: Series(row, rule, host, has_exemplars=has_exemplars) for host in hosts}
        self._exact = {host: one for host, one in series.items() if not host.startswith("*")}
        by_length = sorted((host for host in series if host.startswith("*")), key=len, reverse=True)
        self._patterns = [(host[1:], series[host]) for host in by_length]

    def count(self, host: str, status: int, took_s: float) -> None:
        """Count a request, as `Series.count`."""
        one = self._exact.get(host) or self._find(host)
        if one is not None:
            one.count(host, status, took_s)

    def add_exemplar(self, host: str, trace_id: str, took_s: float) -> None:
        """Keep the trace of a request, as `Series.add_exemplar`."""
        if (one := self._find(host)) is not None:
            one.keep_trace(trace_id, took_s)

    def _find(self, host: str) -> Series | None:
        if (one := self._exact.get(host)) is not None:
            return one
        for suffix, one in self._patterns:
            if host.endswith(suffix):
                return one
        return None


def request_times(compilation: Compilation, rule: str, hosts: list[str]) -> Series | HostSeries | None:
    """Return what counts the times of a rule; None without `metrics.times`. `hosts`: the rule's, normalised."""
    config, row = compilation.config.metrics, compilation.context.row
    if not config.times:
        return None
    has_exemplars = keeps_exemplars(config, compilation.config.tracing)
    has_hosts = config.hosts and any(hosts)
    SERIES.of(compilation).update({(rule, host): None for host in (hosts if has_hosts else [""])})
    if has_hosts:
        return HostSeries(row, rule, hosts, has_exemplars=has_exemplars)
    return Series(row, rule, "", has_exemplars=has_exemplars)


def upstream_times(compilation: Compilation, rule: str) -> Histogram | None:
    """Return what counts how long the targets of a rule take to respond; None without `metrics.times`."""
    config = compilation.config
    if not config.metrics.times:
        return None
    has_exemplars = keeps_exemplars(config.metrics, config.tracing)
    return Histogram(compilation.context.row, UPSTREAM_TIMES, rule, has_exemplars=has_exemplars)
