"""Names the counters of the server itself, so that all processes have them in the same slots of the scoreboard.

It also checks `metrics` and `tracing` against the rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.listen.drains import counter_of
from npserver.observe.process_usage import name_usage
from npserver.observe.reload_counters import RELOADED_AT, RELOADS
from npserver.web.config import HttpRule
from npserver.web.handlers.status.config import StatusRule

if TYPE_CHECKING:
    from collections.abc import Collection

    from npserver.config.report import Report
    from npserver.listen.listener import Listener
    from npserver.runtime.scoreboard import Row


def check_observing(report: Report) -> None:
    """Warn of keys of `metrics` and `tracing` that have no effect."""
    config = report.document.config
    rules = config.dispatch
    if config.metrics.times and rules and not any(isinstance(rule, StatusRule) for rule in rules):
        report.warn(("metrics", "times"), "no effect: no rule has handler 'status', which shows them")
    if config.metrics.hosts and not config.metrics.times:
        report.warn(("metrics", "hosts"), "no effect: 'times' is not set, whose label it is")
    if config.metrics.exemplars and not config.metrics.times:
        report.warn(("metrics", "exemplars"), "no effect: 'times' is not set, whose buckets name the traces")
    elif config.metrics.exemplars and config.tracing is None:
        report.warn(("metrics", "exemplars"), "no effect: 'tracing' is not set, whose traces they name")
    if config.tracing is None:
        for index, rule in enumerate(rules):
            if isinstance(rule, HttpRule) and not rule.trace:
                report.warn(("dispatch", index, "trace"), "no effect: 'tracing' is not set")
    if config.tracing is not None and rules and not any(isinstance(rule, HttpRule) for rule in rules):
        report.warn(("tracing",), "no effect: no rule is about HTTP")


def name_server_counters(listeners: Collection[Listener], row: Row) -> None:
    """Give the counters their slots; those of TLS if a listener uses it."""
    names = [*RELOADS.values(), RELOADED_AT]
    if any(listener.server_tls is not None for listener in listeners):
        from npserver.tls.accept import HANDSHAKE_FAILURES, RESUMED, VERSIONS

        names += [*VERSIONS.values(), RESUMED, HANDSHAKE_FAILURES]
    for name in [*names, *map(counter_of, listeners)]:
        row.slot(name)
    name_usage(row)
