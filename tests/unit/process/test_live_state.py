"""The state of a running server, as `npserver explain -live` takes it over."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from npserver.config.document import Document
from npserver.config.load import load_text
from npserver.explain.question import parse_question
from npserver.process.explaining import explaining
from npserver.process.live_state import MAX_VALUE_BYTES, LiveState, collect, digest
from npserver.runtime.scoreboard import Scoreboard

CONFIG: dict[str, Any] = {
    "listen": ["http://:80"],
    "networks": {"banned": {"learn": {"scan": "20/1m"}}},
    "upstreams": {
        "app": {
            "targets": [{"uri": "http://10.0.0.1:80", "max_connections": 2}, "http://10.0.0.2:80"],
            "health_check": {"path": "/"},
            "balance": "ip-hash",
        }
    },
    "dispatch": [
        {"path": "/few", "handler": "respond", "max_requests": 3},
        {"handler": "proxy", "proxy_pass": "upstream://app", "deny": "banned"},
    ],
}


def document(**changes: Any) -> Document:
    return load_text(json.dumps({**CONFIG, **changes}), "config.json")


def targets_of(state: LiveState) -> set[str]:
    with explaining(document(), live=state) as explainer:
        asked = [parse_question("http://x/", client=f"10.0.0.{last}") for last in range(30)]
        return {explainer.explain(one).to[-2] for one in asked}


def test_slots_and_topics_of_a_server_go_over_the_socket() -> None:
    board = Scoreboard(2, b"seed")
    for worker, value in ((-1, 1), (0, 2), (1, 4)):
        row = board.row(worker)
        row.slots[row.slot("gauge.upstream.app.http://10.0.0.1:80.active")] = value
        row.slots[row.slot("http.requests")] = value
    row.slots[row.slot("health.none")] = 0
    latest = {
        "networks:bans:banned": [{"client": "192.0.2.1"}],
        "tls:tickets": "secret",
        "acme:answers": "secret",
        "networks:data:long": "x" * MAX_VALUE_BYTES,
        "resolved:db": {"addresses": ["10.0.0.9"]},
    }
    state = msgspec.convert(msgspec.to_builtins(collect(board, latest, document())), LiveState)
    assert state.slots == {"gauge.upstream.app.http://10.0.0.1:80.active": 7}
    assert set(state.topics) == {"networks:bans:banned", "resolved:db"}


@pytest.mark.parametrize(
    ("slot", "value", "note"),
    [
        ("health.app.http://10.0.0.1:80", -1, "unhealthy or ejected"),
        ("gauge.upstream.app.http://10.0.0.1:80.active", 2, "at max_connections"),
    ],
)
def test_a_target_that_cannot_be_used_is_not_chosen(slot: str, value: int, note: str) -> None:
    assert targets_of(LiveState()) == {"http://10.0.0.1:80", "http://10.0.0.2:80"}
    state = LiveState(slots={slot: value})
    assert targets_of(state) == {"http://10.0.0.2:80"}
    with explaining(document(), live=state) as explainer:
        (step,) = [one.text for one in explainer.explain(parse_question("http://x/")).steps if one.kind == "to"]
    assert f"http://10.0.0.1:80 ({note})" in step


def test_no_target_is_a_503() -> None:
    down = {f"health.app.http://10.0.0.{last}:80": -1 for last in (1, 2)}
    with explaining(document(), live=LiveState(slots=down)) as explainer:
        assert explainer.explain(parse_question("http://x/")).gets == 503


def test_banned_clients_and_full_rules_are_refused() -> None:
    ban = {"client": "192.0.2.1", "event": "scan", "at": 1.0, "until": 2e10}
    slots = {"gauge.max_requests./few": 3}
    state = LiveState(slots=slots, topics={"networks:bans:banned": [ban]})
    with explaining(document(), live=state) as explainer:
        assert explainer.explain(parse_question("http://x/")).gets == 403
        assert explainer.explain(parse_question("http://x/", client="192.0.2.2")).gets == ""
        assert explainer.explain(parse_question("http://x/few")).gets == 503


def test_the_digest_is_of_what_decides() -> None:
    assert digest(document()) == digest(document(workers=7, backlog=5, logging={"level": "off"}))
    assert digest(document()) != digest(document(server_header="x"))
