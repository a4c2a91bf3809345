"""The signed DNS zones on the status page: as a table, as JSON, and as metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from npserver.observe.metrics import Family, Sample
from npserver.web.handlers.status.table import table, utc

if TYPE_CHECKING:
    from npserver.runtime.signed_zone_states import SignedZoneState

_KEYS = Family("npserver_dns_signed_zone_keys", "gauge", "Keys of a signed zone, with those that are new or leave.")
_AWAITED = Family(
    "npserver_dns_signed_zone_awaits_parent_timestamp_seconds", "gauge",
    "Time since which the parent of a signed zone is to have another DS record; 0: it has the right one.",
)  # fmt: skip


def signed_samples(states: Sequence[SignedZoneState]) -> Iterator[Sample]:
    """Yield the metrics."""
    for one in states:
        yield Sample(_KEYS, (("zone", one.name),), len(one.keys))
    for one in states:
        yield Sample(_AWAITED, (("zone", one.name),), int(one.awaits_parent_since))


def signed_as_json(states: Sequence[SignedZoneState]) -> list[dict[str, object]]:
    """Return what JSON tells of each zone; times are in ISO 8601."""
    return [
        {
            "name": one.name,
            "keys": list(one.keys),
            "awaits_parent_since": utc(one.awaits_parent_since) or None,
            "parent": one.parent or None,
            "next_step": one.step or None,
            "next_step_at": utc(one.step_at) or None,
        }
        for one in states
    ]


def signed_table(states: Sequence[SignedZoneState]) -> str:
    """Return the table in HTML; "" without such zones."""
    rows = [
        (one.name, ", ".join(one.keys), utc(one.awaits_parent_since), one.parent, one.step, utc(one.step_at))
        for one in states
    ]
    shown = table(("signed zone", "keys", "parent awaited since", "parent", "next step", "at"), rows, 1_300)
    return f"<h2>Signed zones</h2>{shown}" if shown else ""
