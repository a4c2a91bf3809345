"""The drained targets on the status page: their metrics. `process.control.drains` publishes which they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from npserver.observe.metrics import Family, Sample
from npserver.upstream.registry import DRAINS

if TYPE_CHECKING:
    from npserver.runtime.pubsub import PubSub

_DRAINING = Family("npserver_upstream_draining", "gauge", "1: a target gets no new requests (npserver drain).")


def drained_targets(pubsub: PubSub) -> dict[str, Any]:
    """Return the drains by upstream and target, with a space between them."""
    drains: dict[str, Any] = (pubsub.latest.get(DRAINS) or {}).get("targets", {})
    return drains


def drain_samples(drains: dict[str, Any]) -> Iterator[Sample]:
    """Yield the metrics."""
    for key in drains:
        upstream, _, target = key.rpartition(" ")
        yield Sample(_DRAINING, (("upstream", upstream), ("target", target)), 1)
