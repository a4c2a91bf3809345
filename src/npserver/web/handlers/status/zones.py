"""The DNS zones that change while they are served, on the status page: as a table, as JSON, and as metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from npserver.observe.metrics import Family, Sample
from npserver.web.handlers.status.table import table, utc

if TYPE_CHECKING:
    from npserver.runtime.zone_states import ZoneState

_SERIAL = Family("npserver_dns_zone_serial", "gauge", "Serial of a zone; 0: it was not transferred, or expired.")
_NAMES = Family("npserver_dns_zone_names", "gauge", "Names in a zone.")
_FAILED = Family("npserver_dns_zone_failed", "gauge", "1: the zone is not up to date, as its file or primary failed.")
_CHECKED = Family(
    "npserver_dns_zone_confirmed_timestamp_seconds", "gauge", "Time at which a primary last confirmed a zone; 0: never."
)


def zone_samples(states: Sequence[ZoneState]) -> Iterator[Sample]:
    """Yield the metrics."""
    for one in states:
        yield Sample(_SERIAL, (("zone", one.name),), one.serial)
    for one in states:
        yield Sample(_NAMES, (("zone", one.name),), one.names)
    for one in states:
        yield Sample(_FAILED, (("zone", one.name),), int(bool(one.error)))
    for one in states:
        if one.next_at:
            yield Sample(_CHECKED, (("zone", one.name),), int(one.checked_at))


def zones_as_json(states: Sequence[ZoneState]) -> list[dict[str, object]]:
    """Return what JSON tells of each zone; times are in ISO 8601."""
    return [
        {
            "name": one.name,
            "source": one.source,
            "serial": one.serial,
            "names": one.names,
            "confirmed": utc(one.checked_at) or None,
            "next_refresh": utc(one.next_at) or None,
            "error": one.error or None,
        }
        for one in states
    ]


def zone_table(states: Sequence[ZoneState]) -> str:
    """Return the table in HTML; "" without such zones."""
    rows = [
        (one.name, one.source, one.error, utc(one.next_at, "%H:%M:%S UTC"), one.names, str(one.serial))
        for one in states
    ]
    shown = table(("zone", "from", "last error", "next refresh", "names", "serial"), rows, 1_300)
    return f"<h2>Zones</h2>{shown}" if shown else ""
