"""The handler of `status` rules: shows npserver's counters as a page, as JSON and as Prometheus metrics.

Each worker shows the counters of all, since they share the scoreboard. The start time is kept on the scoreboard too, so
it survives reloads and restarts of workers. The controller publishes the states of certificates
and the public addresses.
"""

from __future__ import annotations

import json
import time
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from npserver import __version__
from npserver.network_sets.states import known_states
from npserver.observe import metrics
from npserver.observe.histogram import histogram_samples
from npserver.observe.process_usage import usage_samples
from npserver.runtime.public_addresses import public_addresses
from npserver.runtime.signed_zone_states import published_signed
from npserver.runtime.zone_states import published_zones
from npserver.sources import states as sources
from npserver.sources.states import published_states
from npserver.tls.states import published
from npserver.web.handlers.status.addresses import address_samples, address_table, addresses_as_json
from npserver.web.handlers.status.certificates import certificate_samples, certificate_table, certificates_as_json
from npserver.web.handlers.status.data_states import (
    BLOCK_LISTS,
    NETWORKS,
    state_samples,
    state_table,
    states_as_json,
)
from npserver.web.handlers.status.signed_zones import signed_as_json, signed_samples, signed_table
from npserver.web.handlers.status.zones import zone_samples, zone_table, zones_as_json

if TYPE_CHECKING:
    from npserver.observe.metrics import Sample
    from npserver.runtime.context import Context
    from npserver.runtime.public_addresses import KnownAddress
    from npserver.runtime.scoreboard import Scoreboard
    from npserver.sources.states import SetState
    from npserver.tls.states import PublishedStates
    from npserver.web.exchange import Exchange

_FIELDS = b"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
_PAGE_FIELDS = b"Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n"

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="5"><title>npserver</title><style>
:root {{ color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }}
body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100%; margin-bottom: 2rem }}
td, th {{ text-align: left; padding: .2rem .6rem; border-bottom: 1px solid #8884 }}
td:last-child, th:last-child {{ text-align: right; font-variant-numeric: tabular-nums }}
td {{ overflow-wrap: anywhere }}
td.error {{ text-align: left; color: light-dark(#a00, #f88) }}
</style></head><body><h1>npserver {version}</h1>
<p>Up for {uptime}. Also as <a href="?format=json">JSON</a> and <a href="?format=prometheus">Prometheus metrics</a>.</p>
{states}{tables}</body></html>
"""


class StatusHandler:
    """Answers the requests of a `status` rule."""

    __slots__ = ("_board", "_pubsub", "_row", "_started_slot")

    def __init__(self, context: Context) -> None:
        self._row = row = context.row
        self._board: Scoreboard = row.board
        self._pubsub = context.pubsub
        self._started_slot = row.slot("server.started")
        if not row.slots[self._started_slot]:
            row.slots[self._started_slot] = int(time.time())

    def handle(self, exchange: Exchange) -> None:
        """Respond in the format that `?format=` or Accept names."""
        request = exchange.request
        if request.method not in ("GET", "HEAD"):
            exchange.fail(405, "the status page can only be read", fields=b"Allow: GET, HEAD\r\n")
            return
        form = parse_qs(request.query).get("format", [""])[0] or _accepted(request.fields.get(b"accept", b""))
        self._row.publish()  # those of other workers may be one sweep old
        samples, states = metrics.samples(self._board), published(self._pubsub)
        if form == "html":
            self._answer(exchange, "text/html; charset=utf-8", self._page(samples, states), _PAGE_FIELDS)
        elif form == "json":
            self._answer(exchange, "application/json", self._json(samples, states))
        elif form == "prometheus":
            text = self._prometheus(
                [
                    *samples,
                    *histogram_samples(self._board),
                    *usage_samples(self._board),
                    *certificate_samples(states),
                    *self._others(),
                ]
            )
            self._answer(exchange, metrics.CONTENT_TYPE, text)
        else:
            exchange.fail(400, "?format= must be html, json or prometheus")

    @property
    def uptime_s(self) -> int:
        """Seconds since the first process compiled this rule."""
        started = [row[self._started_slot] for row in self._board.rows if row[self._started_slot]]
        return max(0, int(time.time()) - min(started))

    @staticmethod
    def _answer(exchange: Exchange, media_type: str, text: str, fields: bytes = b"") -> None:
        content_type = f"Content-Type: {media_type}\r\nVary: Accept\r\n".encode()
        exchange.respond(200, content_type + _FIELDS + fields, text.encode())

    def _prometheus(self, samples: list[Sample]) -> str:
        return (
            "# HELP npserver_info The running version.\n# TYPE npserver_info gauge\n"
            f'npserver_info{{version="{__version__}"}} 1\n'
            "# HELP npserver_uptime_seconds Time since the server was started.\n# TYPE npserver_uptime_seconds gauge\n"
            f"npserver_uptime_seconds {self.uptime_s}\n{metrics.prometheus(samples)}"
        )

    def _json(self, samples: list[Sample], states: PublishedStates) -> str:
        families: dict[str, object] = {}
        for sample in (
            *samples,
            *histogram_samples(self._board),
            *usage_samples(self._board),
            *certificate_samples(states),
            *self._others(),
        ):
            if sample.labels:
                entry = families.setdefault(sample.name, [])
                assert isinstance(entry, list)
                entry.append({**dict(sample.labels), "value": sample.value})
            else:
                families[sample.name] = sample.value
        content = {
            "version": __version__,
            "uptime_seconds": self.uptime_s,
            "metrics": families,
            "certificates": certificates_as_json(states),
            "public_addresses": addresses_as_json(self._addresses()),
            "networks": states_as_json(known_states(self._pubsub)),
            "block_lists": states_as_json(self._block_lists()),
            "zones": zones_as_json(published_zones(self._pubsub)),
            "signed_zones": signed_as_json(published_signed(self._pubsub)),
        }
        return json.dumps(content, indent=1)

    def _page(self, samples: list[Sample], states: PublishedStates) -> str:
        groups: dict[str, list[Sample]] = {}
        for sample in samples:
            groups.setdefault(sample.family.name.split("_")[1], []).append(sample)
        tables = "".join(f"<h2>{escape(area)}</h2><table>{_rows(group)}</table>\n" for area, group in groups.items())
        states_known = certificate_table(states) + address_table(self._addresses())
        states_known += state_table(NETWORKS, known_states(self._pubsub))
        states_known += state_table(BLOCK_LISTS, self._block_lists()) + zone_table(published_zones(self._pubsub))
        states_known += signed_table(published_signed(self._pubsub))
        return _PAGE.format(version=__version__, uptime=_span(self.uptime_s), states=states_known, tables=tables)

    def _others(self) -> list[Sample]:
        return [
            *address_samples(self._addresses()),
            *state_samples(NETWORKS, known_states(self._pubsub)),
            *state_samples(BLOCK_LISTS, self._block_lists()),
            *zone_samples(published_zones(self._pubsub)),
            *signed_samples(published_signed(self._pubsub)),
        ]

    def _block_lists(self) -> list[SetState]:
        return published_states(self._pubsub, sources.BLOCK_LISTS)

    def _addresses(self) -> tuple[KnownAddress, ...]:
        return public_addresses(self._pubsub)


def _rows(group: list[Sample]) -> str:
    return "".join(
        f"<tr><td>{escape(sample.family.help)}</td><td>{escape(' '.join(value for _, value in sample.labels))}</td>"
        f"<td>{sample.value:,}</td></tr>"
        for sample in group
    )


def _accepted(accept: bytes) -> str:
    """Return the format for an Accept field: browsers name text/html, scripts application/json."""
    if b"text/html" in accept:
        return "html"
    return "json" if b"application/json" in accept else "prometheus"


def _span(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{days} d " * bool(days) + f"{hours}:{minutes:02}:{rest:02}"
