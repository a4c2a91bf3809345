"""The networks that come from data on the status page: as a table, as JSON, and as metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from npserver.observe.metrics import Family, Sample

if TYPE_CHECKING:
    from npserver.sources.states import SetState

_SIZE = Family("npserver_networks_size", "gauge", "Networks in a list, nodes of a database.")
_AT = Family("npserver_networks_timestamp_seconds", "gauge", "Time that the networks are of; 0: there are none yet.")
_FAILED = Family("npserver_networks_failed", "gauge", "1: the last attempt to renew the networks failed.")


def network_samples(states: Sequence[SetState]) -> Iterator[Sample]:
    """Yield the metrics."""
    for one in states:
        yield Sample(_SIZE, (("name", one.name),), one.size)
    for one in states:
        yield Sample(_AT, (("name", one.name),), int(one.at))
    for one in states:
        yield Sample(_FAILED, (("name", one.name),), int(bool(one.error)))


def networks_as_json(states: Sequence[SetState]) -> list[dict[str, object]]:
    """Return what JSON tells of each name; times are in ISO 8601."""
    return [
        {
            "name": one.name,
            "source": one.source,
            "size": one.size,
            "date": _time(one, "%Y-%m-%dT%H:%M:%SZ") or None,
            "error": one.error or None,
        }
        for one in states
    ]


def network_table(states: Sequence[SetState]) -> str:
    """Return the table in HTML; "" without such networks."""
    rows = "".join(
        f"<tr><td>{escape(one.name)}</td><td>{escape(one.source)}</td>"
        f'<td class="error">{escape(one.error)}</td><td>{one.size:,}</td>'
        f"<td>{_time(one, '%Y-%m-%d %H:%M UTC')}</td></tr>"
        for one in states
    )
    heads = "<tr><th>Networks</th><th>from</th><th>last error</th><th>entries</th><th>of</th></tr>"
    return f"<h2>networks</h2><table>{heads}{rows}</table>\n" if rows else ""


def _time(one: SetState, form: str) -> str:
    return time.strftime(form, time.gmtime(one.at)) if one.at else ""
