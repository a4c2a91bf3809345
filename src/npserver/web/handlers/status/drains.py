"""The drained targets and listeners on the status page: their metrics. `process.control` publishes which they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from npserver.listen.drains import drained_listeners
from npserver.observe.metrics import Family, Sample
from npserver.upstream.registry import drained_targets

_DRAINING = Family("npserver_upstream_draining", "gauge", "1: a target gets no new requests (npserver drain).")
_DRAINED = Family("npserver_listener_draining", "gauge", "1: a listener takes no new clients (npserver drain).")


def drain_samples(latest: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield the metrics, from the latest values of all topics."""
    for key in drained_listeners(latest):
        yield Sample(_DRAINED, (("listener", key),), 1)
    for key in drained_targets(latest):
        upstream, _, target = key.rpartition(" ")
        yield Sample(_DRAINING, (("upstream", upstream), ("target", target)), 1)
