"""The public addresses of this machine on the status page: as a table, as JSON, and as metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from npserver.observe.metrics import Family, Sample

if TYPE_CHECKING:
    from npserver.runtime.public_addresses import KnownAddress

_SINCE = Family("npserver_public_address_since_timestamp_seconds", "gauge", "Time since when an address is known.")


def address_samples(known: Sequence[KnownAddress]) -> Iterator[Sample]:
    """Yield the metrics."""
    for one in known:
        yield Sample(_SINCE, (("address", one.address), ("source", one.shown_source)), int(one.since))


def addresses_as_json(known: Sequence[KnownAddress]) -> list[dict[str, str]]:
    """Return what JSON tells of each address; times are in ISO 8601."""
    return [
        {"address": one.address, "source": one.shown_source, "since": _time(one, "%Y-%m-%dT%H:%M:%SZ")} for one in known
    ]


def address_table(known: Sequence[KnownAddress]) -> str:
    """Return the table in HTML; "" without addresses."""
    rows = "".join(
        f"<tr><td>{escape(one.address)}</td><td>{escape(one.shown_source)}</td>"
        f"<td>{_time(one, '%Y-%m-%d %H:%M UTC')}</td></tr>"
        for one in known
    )
    heads = "<tr><th>Public address</th><th>from</th><th>known since</th></tr>"
    return f"<h2>public address</h2><table>{heads}{rows}</table>\n" if rows else ""


def _time(one: KnownAddress, form: str) -> str:
    return time.strftime(form, time.gmtime(one.since))
