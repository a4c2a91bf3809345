"""The page, the JSON and the metrics of `status` rules."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from npserver.runtime.context import Context
from npserver.runtime.pubsub import PubSub
from npserver.runtime.scoreboard import Scoreboard
from npserver.web.exchange import Exchange
from npserver.web.handlers.status.handler import StatusHandler
from tests.stage.answered import Answered


@pytest.fixture
def board() -> Scoreboard:
    board = Scoreboard(1, b"seed")
    row = board.row(0)
    row.slots[row.slot("http.requests")] = 12345
    row.slots[row.slot("upstream.<b>.http://a:1.requests")] = 7
    return board


def ask(board: Scoreboard, **request: Any) -> Answered:
    handler = StatusHandler(cast("Context", SimpleNamespace(row=board.row(0), pubsub=PubSub())))
    answered = Answered(**request)
    handler.handle(cast("Exchange", answered))
    return answered


def test_browsers_get_a_page_with_names_escaped(board: Scoreboard) -> None:
    answered = ask(board, accept=b"text/html,application/xhtml+xml,*/*;q=0.8")
    assert b"Content-Type: text/html; charset=utf-8\r\n" in answered.fields
    assert b"12,345" in answered.body
    assert b"&lt;b&gt; http://a:1" in answered.body


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
    handler = StatusHandler(cast("Context", SimpleNamespace(row=board.row(0), pubsub=PubSub())))
    row = board.row(0)
    row.slots[row.slot("server.started")] -= 90_061
    again = StatusHandler(cast("Context", SimpleNamespace(row=board.row(0), pubsub=PubSub())))
    assert again.uptime_s == handler.uptime_s >= 90_061
    assert "Up for 1 d 1:01:0" in ask(board, query="format=html").body.decode()
