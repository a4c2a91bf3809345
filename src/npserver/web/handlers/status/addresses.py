"""The public addresses of this machine on the status page: as a table, as JSON, and as metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from npserver.observe.metrics import Family, Sample
from npserver.web.handlers.status.table import table, utc

if TYPE_CHECKING:
    from npserver.runtime.public_addresses import KnownAddress

_SINCE = Family("npserver_public_address_since_timestamp_seconds", "gauge", "Time since when an address is known.")


def address_samples(known: Sequence[KnownAddress]) -> Iterator[Sample]:
    """Yield the metrics."""
    for one in known:
        yield Sample(_SINCE, (("address", one.address), ("source", one.shown_source)), int(one.since))


def addresses_as_json(known: Sequence[KnownAddress]) -> list[dict[str, str]]:
    """Return what JSON tells of each address; times are in ISO 8601."""
    return [{"address": one.address, "source": one.shown_source, "since": utc(one.since)} for one in known]


def address_table(known: Sequence[KnownAddress]) -> str:
    """Return the table in HTML; "" without addresses."""
    rows = [(one.address, one.shown_source, utc(one.since, "%Y-%m-%d %H:%M UTC")) for one in known]
    shown = table(("public address", "from", "known since"), rows, 800)
    return f"<h2>Public address</h2>{shown}" if shown else ""
