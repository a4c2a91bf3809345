"""The page, the JSON and the metrics of `status` rules.

Covers `web.handlers.status.page` and `web.handlers.status.processes`.
"""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from npserver.network_sets.states import BAN_TOPICS
from npserver.observe.histogram import RESPONSE_TIMES, Histogram
from npserver.observe.last_errors import LoggedError
from npserver.runtime.scoreboard import Scoreboard
from npserver.sources.states import BLOCK_LISTS, NETWORKS, SetState, publish_states
from npserver.upstream.registry import NamedTarget
from npserver.web.exchange import Exchange
from npserver.web.handlers.status.buttons import Buttons
from npserver.web.handlers.status.config import StatusRule
from npserver.web.handlers.status.handler import StatusHandler
from npserver.web.handlers.status.history import COUNTERS, HISTORY
from npserver.web.request_times import Series
from tests.stage.answered import Answered
from tests.stage.worker import make_context


@pytest.fixture
def board() -> Scoreboard:
    board = Scoreboard(1, b"seed")
    row = board.row(0)
    row.slots[row.slot("http.requests")] = 12345
    row.slots[row.slot("upstream.<b>.http://a:1.requests")] = 7
    row.slots[row.slot("upstream.<b>.http://a:1.ejections")] = 3
    return board


def ask(
    board: Scoreboard, *, summary: list[tuple[str, str]] | None = None, errors: bool = True, **request: Any
) -> Answered:
    handler = StatusHandler(make_context(board=board), StatusRule(errors=errors), [], summary or [])
    answered = Answered(**request)
    handler.handle(cast("Exchange", answered))
    return answered


def test_browsers_get_a_page_with_names_escaped(board: Scoreboard) -> None:
    answered = ask(board, accept=b"text/html,application/xhtml+xml,*/*;q=0.8")
    assert b"Content-Type: text/html; charset=utf-8\r\n" in answered.fields
    assert b"12,345" in answered.body
    assert b"&lt;b&gt;" in answered.body
    assert b"<b>.http" not in answered.body


def test_json_is_given_by_query(board: Scoreboard) -> None:
    answered = ask(board, query="format=json", accept=b"text/html")
    content = json.loads(answered.body)
    assert content["metrics"]["npserver_http_requests_total"] == 12345
    assert content["metrics"]["npserver_upstream_requests_total"] == [
        {"upstream": "<b>", "target": "http://a:1", "value": 7}
    ]
    assert content["uptime_seconds"] >= 0


@pytest.mark.parametrize(
    "accept",
    [b"", b"*/*", b"application/openmetrics-text;q=0", b"text/plain, application/openmetrics-text;version=1.0.0;q=0.5"],
)
def test_prometheus_is_the_default(board: Scoreboard, accept: bytes) -> None:
    answered = ask(board, accept=accept)
    assert b"Content-Type: text/plain; version=0.0.4" in answered.fields
    assert b"\nnpserver_http_requests_total 12345\n" in answered.body


@pytest.mark.parametrize(
    "accept",
    [
        b"application/openmetrics-text",
        b"application/openmetrics-text;q=0.8,text/plain;version=0.0.4;q=0.5",
        b"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5",
    ],
)
def test_open_metrics_are_given_to_those_who_prefer_them(board: Scoreboard, accept: bytes) -> None:
    answered = ask(board, accept=accept)
    assert b"Content-Type: application/openmetrics-text; version=1.0.0" in answered.fields
    assert b"\nnpserver_http_requests_total 12345\n" in answered.body
    assert answered.body.endswith(b"\n# EOF\n")


def test_answers_are_never_stored(board: Scoreboard) -> None:
    assert b"Cache-Control: no-store\r\n" in ask(board).fields


def test_only_reading_is_allowed(board: Scoreboard) -> None:
    answered = ask(board, method="POST")
    assert answered.status == 405
    assert answered.fields == b"Allow: GET, HEAD\r\n"


def test_unknown_forms_are_refused(board: Scoreboard) -> None:
    assert ask(board, query="format=xml").status == 400


def test_the_start_outlives_a_reload(board: Scoreboard) -> None:
    handler = StatusHandler(make_context(board=board), StatusRule(), [], [])
    row = board.row(0)
    row.slots[row.slot("server.started")] -= 90_061
    again = StatusHandler(make_context(board=board), StatusRule(), [], [])
    assert again.uptime_s == handler.uptime_s >= 90_061
    assert "up for 1 d 1:01:0" in ask(board, query="format=html").body.decode()


HOSTILE = "<img src=x onerror=alert(1)>'\"&"


def test_zeros_are_left_out(board: Scoreboard) -> None:
    row = board.row(0)
    row.slot("http.mirror.failed")
    assert b"Copies" not in ask(board, accept=b"text/html").body
    row.slots[row.slot("http.mirror.failed")] = 1
    assert b"Copies that were not answered" in ask(board, accept=b"text/html").body


def test_the_last_errors_and_the_rules_are_shown_escaped(board: Scoreboard) -> None:
    board.last_errors.write(0, 0, LoggedError(1.0, 40, f"http: {HOSTILE}", 2))
    summary = [(f"web {HOSTILE}", f"{HOSTILE}/**  proxy to {HOSTILE}")]
    page = ask(board, summary=summary, accept=b"text/html").body.decode()
    assert "<img" not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;&#x27;&quot;&amp;") == 4
    assert json.loads(ask(board, query="format=json").body)["errors"] == [
        {"time": "1970-01-01T00:00:01Z", "level": "error", "text": f"http: {HOSTILE}", "count": 2}
    ]


def test_the_last_errors_are_not_shown_where_the_rule_says_so(board: Scoreboard) -> None:
    board.last_errors.write(0, 0, LoggedError(1.0, 40, "secret", 2))
    for accept in (b"text/html", b"application/json"):
        assert b"secret" in ask(board, accept=accept).body
        assert b"secret" not in ask(board, errors=False, accept=accept).body


def test_the_page_allows_its_own_style_and_nothing_else(board: Scoreboard) -> None:
    answered = ask(board, accept=b"text/html")
    assert b"\r\nContent-Security-Policy: default-src 'none'; style-src 'sha256-" in answered.fields
    assert b"unsafe" not in answered.fields


def test_the_page_is_small_however_much_there_is() -> None:
    board = Scoreboard(64, b"seed")
    for number, row in enumerate(board.row(worker) for worker in range(-1, 64)):
        row.slots[row.slot("http.requests")] = 10**15
        row.slots[row.slot(f"limits.{HOSTILE}{number}.limited")] = 10**15
        row.slots[row.slot(f"cache.bytes./{HOSTILE}{number}")] = 10**15
        for record in range(16):
            board.last_errors.write(number, record, LoggedError(number, 40, f"{HOSTILE * 99}", 2))
    for number in range(500):
        board.row(0).slots[board.row(0).slot(f"dns.block_lists.l {HOSTILE}{number}")] = 10**15
    summary = [(f"web{number} {HOSTILE}", f"{HOSTILE}/**  proxy to {HOSTILE}") for number in range(500)]
    context = make_context(board=board)
    row = context.row
    targets = [NamedTarget(f"app{number}", f"http://10.0.0.{number}:80/{HOSTILE}") for number in range(300)]
    timed = [Histogram(row, RESPONSE_TIMES, one.upstream, one.uri) for one in targets[:30]]
    rules = [Series(row, f"rule {number}{HOSTILE}", "") for number in range(30)]
    bans = [{"client": f"2001:db8:{number}::/64", "event": "login", "at": 1.0, "until": 2.0} for number in range(2000)]
    context.pubsub.publish(BAN_TOPICS + "banned", bans)
    for topic in (NETWORKS, BLOCK_LISTS):
        publish_states(context.pubsub, topic, [SetState(f"{HOSTILE}{n}", HOSTILE, n, 1.0, HOSTILE) for n in range(99)])
    rule = StatusRule(buttons=True)
    series = [(f"rule {number}{HOSTILE}", "") for number in range(30)]
    buttons = Buttons(context, ("dispatch", 0), rule)
    handler = StatusHandler(context, rule, targets, summary, buttons=buttons, series=series)
    handler.start()
    history = HISTORY.of(context)
    for at in range(100):
        for one in targets:
            row.slots[row.slot(f"upstream.{one.upstream}.{one.uri}.requests")] += at % 7
        for name in COUNTERS:
            row.slots[row.slot(name)] += 1000 * (at % 13)
        for times in timed:
            times.observe(0.1)
        for series in rules:
            series.count("", 502 if at % 3 else 200, 0.1)
        row.publish()
        history.expire(at * 2.0)
    answered = Answered(query="format=html")
    handler.handle(cast("Exchange", answered))
    for part in (
        b"half within",
        b"<button",
        b"10.0.0.",
        b"rule 1",
        b"2001:db8:",
        b"Last warnings",
        b"cache",
        b"worker 1",
    ):
        assert part in answered.body
    assert 50_000 < len(answered.body) < 60_000


def test_only_a_page_with_buttons_has_a_place_for_what_they_say(board: Scoreboard) -> None:
    assert b'id="said"' not in ask(board, accept=b"text/html").body
    context, rule = make_context(board=board), StatusRule(buttons=True)
    answered = Answered(query="format=html")
    handler = StatusHandler(context, rule, [], [], buttons=Buttons(context, ("dispatch", 0), rule))
    handler.handle(cast("Exchange", answered))
    assert b'id="said"' in answered.body


def test_it_is_told_how_times_are_measured_where_they_are_not(board: Scoreboard) -> None:
    told = b"&quot;metrics&quot;: { &quot;times&quot;: true }"
    summary = [("web", "/**  files from .")]
    assert told in ask(board, summary=summary, accept=b"text/html").body
    handler = StatusHandler(make_context(board=board), StatusRule(), [], summary, series=[("api", "")])
    handler.start()
    answered = Answered(query="format=html")
    handler.handle(cast("Exchange", answered))
    assert told not in answered.body


def test_clients_that_are_banned_are_shown_unless_the_rule_says_otherwise(board: Scoreboard) -> None:
    context = make_context(board=board)
    ban = {"client": "192.0.2.7", "event": "login", "at": 1.0, "until": 2.0}
    context.pubsub.publish(BAN_TOPICS + "banned", [ban])
    for errors, query in ((True, "html"), (True, "json"), (False, "html"), (False, "json")):
        answered = Answered(query=f"format={query}")
        StatusHandler(context, StatusRule(errors=errors), [], []).handle(cast("Exchange", answered))
        assert (b"192.0.2.7" in answered.body) is errors
