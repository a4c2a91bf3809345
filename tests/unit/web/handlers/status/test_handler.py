"""The page, the JSON and the metrics of `status` rules.

Covers `web.handlers.status.page` and `web.handlers.status.processes`.
"""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from npserver.observe.last_errors import LoggedError
from npserver.runtime.scoreboard import Scoreboard
from npserver.web.exchange import Exchange
from npserver.web.handlers.status.config import StatusRule
from npserver.web.handlers.status.handler import StatusHandler
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


@pytest.mark.parametrize("accept", [b"", b"*/*", b"application/openmetrics-text;q=0.8,text/plain;version=0.0.4;q=0.5"])
def test_prometheus_is_the_default(board: Scoreboard, accept: bytes) -> None:
    answered = ask(board, accept=accept)
    assert b"Content-Type: text/plain; version=0.0.4" in answered.fields
    assert b"\nnpserver_http_requests_total 12345\n" in answered.body


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
    assert 25_000 < len(ask(board, summary=summary, accept=b"text/html").body) < 60_000
