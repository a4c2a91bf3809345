"""The drained targets on the status page: their metrics. `process.control.drains` publishes which they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from npserver.observe.metrics import Family, Sample

_DRAINING = Family("npserver_upstream_draining", "gauge", "1: a target gets no new requests (npserver drain).")


def drain_samples(drains: dict[str, Any]) -> Iterator[Sample]:
    """Yield the metrics."""
    for key in drains:
        upstream, _, target = key.rpartition(" ")
        yield Sample(_DRAINING, (("upstream", upstream), ("target", target)), 1)
