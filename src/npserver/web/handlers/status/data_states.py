"""Networks and block lists that come from data, on the status page: as a table, as JSON, and as metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.observe.metrics import Family, Sample
from npserver.web.handlers.status.table import Markup, table, text, utc

if TYPE_CHECKING:
    from npserver.sources.states import SetState


class DataKind(Struct, frozen=True):
    """How a kind of data is shown."""

    title: str
    column: str
    label: str  # of the metrics
    size: Family
    at: Family
    failed: Family


NETWORKS = DataKind(
    "Networks",
    "networks",
    "name",
    Family("npserver_networks_size", "gauge", "Networks in a list, nodes of a database."),
    Family("npserver_networks_timestamp_seconds", "gauge", "Time that the networks are of; 0: there are none yet."),
    Family("npserver_networks_failed", "gauge", "1: the last attempt to renew the networks failed."),
)
BLOCK_LISTS = DataKind(
    "Block lists",
    "list",
    "list",
    Family("npserver_dns_block_list_names", "gauge", "Names in a block list."),
    Family("npserver_dns_block_list_timestamp_seconds", "gauge", "Time that the list is of; 0: there is none yet."),
    Family("npserver_dns_block_list_failed", "gauge", "1: the last attempt to renew the list failed."),
)


def state_samples(kind: DataKind, states: Sequence[SetState]) -> Iterator[Sample]:
    """Yield the metrics."""
    for one in states:
        yield Sample(kind.size, ((kind.label, one.name),), one.size)
    for one in states:
        yield Sample(kind.at, ((kind.label, one.name),), int(one.at))
    for one in states:
        yield Sample(kind.failed, ((kind.label, one.name),), int(bool(one.error)))


def states_as_json(states: Sequence[SetState]) -> list[dict[str, object]]:
    """Return what JSON tells of each name; times are in ISO 8601."""
    return [
        {
            "name": one.name,
            "source": one.source,
            "size": one.size,
            "date": utc(one.at) or None,
            "error": one.error or None,
        }
        for one in states
    ]


def state_table(kind: DataKind, states: Sequence[SetState]) -> str:
    """Return the table in HTML; "" without such data."""
    rows = [
        (one.name, one.source, _marked(one.error), one.size or "", utc(one.at, "%Y-%m-%d %H:%M UTC")) for one in states
    ]
    shown = table((kind.column, "from", "last error", "entries", "of"), rows, 1_300)
    return f"<h2>{kind.title}</h2>{shown}" if shown else ""


def _marked(error: str) -> Markup:
    return Markup(f'<span class="error">{text(error)}</span>' if error else "")
