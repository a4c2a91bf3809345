"""The clients that are banned, on the status page: as a table and as JSON. `networks` with `learn` ban them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from npserver.network_sets.states import published_bans
from npserver.web.handlers.status.table import Figure, span, table, utc

if TYPE_CHECKING:
    from npserver.runtime.pubsub import PubSub

_BUDGET = 2_000
_MAX_ROWS, _MAX_JSON = 30, 1000


def bans_of(pubsub: PubSub) -> list[dict[str, Any]]:
    """Return the bans in force, each with the name of its network, the newest first."""
    found = [{"network": name, **ban} for name, bans in published_bans(pubsub.latest).items() for ban in bans]
    return sorted(found, key=lambda ban: -ban["at"])


def ban_table(bans: list[dict[str, Any]], now: float) -> str:
    """Return the table in HTML; "" without bans. `now`: in seconds since 1970."""
    rows = [
        (ban["client"], ban["network"], ban["event"], _day(ban["at"]), Figure(span(ban["until"] - now)))
        for ban in bans[:_MAX_ROWS]
    ]
    return table(("banned", "by network", "for", "since", "for another"), rows, _BUDGET, len(bans) - len(rows))


def bans_as_json(bans: list[dict[str, Any]]) -> list[dict[str, object]]:
    """Return what JSON tells of the newest bans; times are in ISO 8601."""
    return [
        {
            "client": ban["client"],
            "network": ban["network"],
            "event": ban["event"],
            "since": utc(ban["at"]),
            "until": utc(ban["until"]),
        }
        for ban in bans[:_MAX_JSON]
    ]


def _day(seconds: float) -> Figure:
    return Figure(utc(seconds, "%Y-%m-%d %H:%M UTC"))
