"""The handler of `status` rules: shows npserver's counters as a page, as JSON and as Prometheus metrics.

Each worker shows the counters of all, since they share the scoreboard. The start time is kept on the scoreboard too, so
it survives reloads and restarts of workers. The controller publishes the states of certificates
and the public addresses.
"""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from npserver import __version__
from npserver.network_sets.states import known_states
from npserver.observe import metrics
from npserver.observe.histogram import histogram_samples
from npserver.observe.metrics import Family, Sample
from npserver.observe.open_metrics import CONTENT_TYPE as OPEN_METRICS
from npserver.observe.open_metrics import accepts_open_metrics, open_metrics
from npserver.observe.process_usage import usage_samples
from npserver.runtime.public_addresses import public_addresses
from npserver.runtime.signed_zone_states import published_signed
from npserver.runtime.zone_states import published_zones
from npserver.sources import states as sources
from npserver.sources.states import published_states
from npserver.tls.states import published
from npserver.web.handlers.status import rules, targets
from npserver.web.handlers.status.addresses import address_samples, address_table, addresses_as_json
from npserver.web.handlers.status.bans import ban_table, bans_as_json, bans_of
from npserver.web.handlers.status.buttons import button_of
from npserver.web.handlers.status.certificates import certificate_samples, certificate_table, certificates_as_json
from npserver.web.handlers.status.data_states import (
    BLOCK_LISTS,
    NETWORKS,
    state_samples,
    state_table,
    states_as_json,
)
from npserver.web.handlers.status.drains import drain_samples
from npserver.web.handlers.status.history import HISTORY
from npserver.web.handlers.status.live import FIELDS, VIEWERS, Stream, claim
from npserver.web.handlers.status.page import (
    LIVE,
    LIVE_WITH_BUTTONS,
    STILL,
    STILL_WITH_BUTTONS,
    all_counters,
    cache_table,
    limit_table,
    render,
    tiles,
    titled,
)
from npserver.web.handlers.status.processes import error_table, errors_as_json, listener_table, worker_table
from npserver.web.handlers.status.rules import rule_table
from npserver.web.handlers.status.signed_zones import signed_as_json, signed_samples, signed_table
from npserver.web.handlers.status.targets import TargetState, target_states, target_table, targets_as_json
from npserver.web.handlers.status.zones import zone_samples, zone_table, zones_as_json

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from npserver.observe.last_errors import LoggedError
    from npserver.runtime.context import Context
    from npserver.runtime.public_addresses import KnownAddress
    from npserver.runtime.scoreboard import Scoreboard
    from npserver.sources.states import SetState
    from npserver.tls.states import PublishedStates
    from npserver.upstream.registry import NamedTarget
    from npserver.web.design import Design
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.status.buttons import Buttons
    from npserver.web.handlers.status.config import StatusRule

_FIELDS = b"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
_MAX_ERRORS = 30
_FRESH_S = 1.0  # for so long, streams share what was made


_INFO = Family("npserver_info", "gauge", "The running version.")
_UPTIME = Family("npserver_uptime_seconds", "gauge", "Time since the server was started.")
#: How metrics are written as text, and the media type, by the name in `?format=`.
_TEXT_FORMS: dict[str, tuple[Callable[[list[Sample]], str], str]] = {
    "prometheus": (metrics.prometheus, metrics.CONTENT_TYPE),
    "openmetrics": (open_metrics, OPEN_METRICS),
}


class StatusHandler:
    """Answers the requests of a `status` rule."""

    __slots__ = (
        "__weakref__", "_board", "_buttons", "_context", "_history", "_made", "_paths", "_pubsub", "_row", "_rule",
        "_series", "_started_slot", "_summary", "_targets", "_viewers_key", "_viewers_slot",
    )  # fmt: skip

    def __init__(
        self,
        context: Context,
        rule: StatusRule,
        targets: list[NamedTarget],
        summary: list[tuple[str, str]],
        viewers_key: str = "dispatch",
        buttons: Buttons | None = None,
        paths: Mapping[str, str] | None = None,
        series: Collection[tuple[str, str]] = (),
    ) -> None:
        """Create it.

        Args:
            context: of the process.
            rule: the rule.
            targets: of the config, by `upstream.registry.TARGETS`.
            summary: of the config, by `runtime.compilation.SUMMARY`.
            viewers_key: the config key of `viewers`, for the log.
            buttons: of the page; None: it has none.
            paths: of rules without a name, by their keys: `dispatch[3]`.
            series: of the config's request times, by `web.request_times.SERIES`.
        """
        self._row = row = context.row
        self._context = context
        self._rule = rule
        self._targets = targets
        self._summary = summary
        self._history = HISTORY.of(context)
        self._made: tuple[float, dict[str, str]] = (0.0, {})  # when, and the sections
        self._viewers_key = viewers_key
        self._buttons = buttons
        self._paths = paths or {}
        self._series = series
        self._viewers_slot = row.slot(VIEWERS)
        self._board: Scoreboard = row.board
        self._pubsub = context.pubsub
        self._started_slot = row.slot("server.started")
        if not row.slots[self._started_slot]:
            row.slots[self._started_slot] = int(time.time())

    def start(self) -> None:
        """Take samples from now on: the config has become the active one."""
        names = self._board.directory.names
        self._history.start(self, [*rules.counters_of(self._series), *targets.counters_of(self._targets, names)])

    def handle(self, exchange: Exchange) -> None:
        """Respond in the format that `?format=` or Accept names."""
        request = exchange.request
        if request.method == "POST" and self._buttons is not None:
            self._buttons.press(exchange)
            return
        if request.method not in ("GET", "HEAD"):
            exchange.fail(405, "the status page can only be read", fields=b"Allow: GET, HEAD\r\n")
            return
        form = parse_qs(request.query).get("format", [""])[0] or _accepted(request.fields.get(b"accept", b""))
        if form == "events":
            self._stream(exchange)
            return
        self._row.publish()  # those of other workers may be one sweep old
        samples, states = metrics.samples(self._board), published(self._pubsub)
        if form == "html":
            page = render(design := self._design, __version__, self._make_sections(samples, states))
            self._answer(exchange, "text/html; charset=utf-8", page, design.policy_line)
        elif form == "json":
            self._answer(exchange, "application/json", self._json(samples, states))
        elif form in _TEXT_FORMS:
            write, media_type = _TEXT_FORMS[form]
            self._answer(exchange, media_type, write([*self._server_samples(), *self._all_samples(samples, states)]))
        else:
            exchange.fail(400, "?format= must be html, json, prometheus, openmetrics or events")

    @property
    def uptime_s(self) -> int:
        """Seconds since the first process compiled this rule."""
        started = [row[self._started_slot] for row in self._board.rows if row[self._started_slot]]
        return max(0, int(time.time()) - min(started))

    @staticmethod
    def _answer(exchange: Exchange, media_type: str, text: str, fields: bytes = b"") -> None:
        content_type = f"Content-Type: {media_type}\r\nVary: Accept\r\n".encode()
        exchange.respond(200, content_type + _FIELDS + fields, text.encode())

    def _server_samples(self) -> list[Sample]:
        return [Sample(_INFO, (("version", __version__),), 1), Sample(_UPTIME, (), self.uptime_s)]

    def _json(self, samples: list[Sample], states: PublishedStates) -> str:
        families: dict[str, object] = {}
        for sample in self._all_samples(samples, states):
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
            "targets": targets_as_json(self._target_states()),
            "errors": errors_as_json(self._errors()),
            "certificates": certificates_as_json(states),
            "bans": bans_as_json(self._bans()),
            "public_addresses": addresses_as_json(self._addresses()),
            "networks": states_as_json(known_states(self._pubsub)),
            "block_lists": states_as_json(self._block_lists()),
            "zones": zones_as_json(published_zones(self._pubsub)),
            "signed_zones": signed_as_json(published_signed(self._pubsub)),
        }
        return json.dumps(content, indent=1)

    def _stream(self, exchange: Exchange) -> None:
        if not claim(self._context, self._viewers_slot, self._rule.viewers):
            reason = f"more than {self._rule.viewers} browsers show the status page live"
            exchange.fail(503, reason, self._viewers_key, level=logging.INFO)
        elif exchange.request.method == "HEAD":
            self._row.slots[self._viewers_slot] -= 1
            exchange.respond(200, FIELDS)
        else:
            Stream(exchange, self._sections, self._viewers_slot).start()

    def _sections(self) -> dict[str, str]:
        """Return the sections for streams: all viewers of a moment are shown the same."""
        now = self._context.loop.time()
        made_at, sections = self._made
        if now - made_at > _FRESH_S or not sections:
            self._row.publish()
            sections = self._make_sections(metrics.samples(self._board), published(self._pubsub))
            self._made = now, sections
        return sections

    def _make_sections(self, samples: list[Sample], states: PublishedStates) -> dict[str, str]:
        """Return the sections of the page by their ids, as HTML."""
        data = state_table(NETWORKS, known_states(self._pubsub)) + state_table(BLOCK_LISTS, self._block_lists())
        data += zone_table(published_zones(self._pubsub)) + signed_table(published_signed(self._pubsub))
        sections = {
            "up": f"up for {_span(self.uptime_s)}",
            "traffic": tiles(samples, self._history),
            "rules": rule_table(self._series, self._history, self._paths),
            "errors": error_table(self._errors()),
            "certificates": certificate_table(states, time.time()),
            "listeners": listener_table(self._summary, self._pubsub.latest, is_timed=bool(self._series)),
            "limits": limit_table(samples) + ban_table(self._bans(), time.time()),
            "cache": cache_table(samples),
            "workers": worker_table(self._board),
            "data": address_table(self._addresses()) + data,
            "counters": all_counters(samples),
        }
        sections["targets"] = self._target_table(sum(map(len, sections.values())))
        return titled(sections)

    def _target_table(self, others_bytes: int) -> str:
        states = self._target_states()
        if self._buttons is None:
            return target_table(states, self._history, None, others_bytes)
        return self._buttons.form(target_table(states, self._history, button_of, others_bytes))

    @property
    def _design(self) -> Design:
        if self._buttons is None:
            return LIVE if self._rule.viewers else STILL
        return LIVE_WITH_BUTTONS if self._rule.viewers else STILL_WITH_BUTTONS

    def _target_states(self) -> list[TargetState]:
        return target_states(self._targets, self._context)

    def _errors(self) -> list[LoggedError]:
        return self._board.last_errors.read()[:_MAX_ERRORS] if self._rule.errors else []

    def _bans(self) -> list[dict[str, Any]]:
        return bans_of(self._pubsub) if self._rule.errors else []

    def _all_samples(self, samples: list[Sample], states: PublishedStates) -> list[Sample]:
        """Return the samples of all metrics. `samples`: those of the scoreboard's slots."""
        return [
            *samples,
            *histogram_samples(self._board),
            *usage_samples(self._board),
            *certificate_samples(states),
            *address_samples(self._addresses()),
            *state_samples(NETWORKS, known_states(self._pubsub)),
            *state_samples(BLOCK_LISTS, self._block_lists()),
            *zone_samples(published_zones(self._pubsub)),
            *signed_samples(published_signed(self._pubsub)),
            *drain_samples(self._pubsub.latest),
        ]

    def _block_lists(self) -> list[SetState]:
        return published_states(self._pubsub, sources.BLOCK_LISTS)

    def _addresses(self) -> tuple[KnownAddress, ...]:
        return public_addresses(self._pubsub)


def _accepted(accept: bytes) -> str:
    """Return the format for an Accept field: browsers name text/html, scripts application/json."""
    if b"text/html" in accept:
        return "html"
    if b"application/json" in accept:
        return "json"
    return "openmetrics" if accepts_open_metrics(accept) else "prometheus"


def _span(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{days} d " * bool(days) + f"{hours}:{minutes:02}:{rest:02}"
