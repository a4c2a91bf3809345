"""What middleware decides of a request."""

from __future__ import annotations

from collections.abc import Callable

from npserver.explain.explanation import Explanation
from npserver.testing import asking
from tests.stage.explained import steps

Ask = Callable[..., Explanation]


def test_who_is_asked_at_run_time_is_taken_to_let_pass(ask: Ask) -> None:
    found = ask("http://sso.example/")
    assert found.gets == 200
    assert steps(found, "forward_auth") == ["passes, if http://10.0.0.4:9091 lets it in: that is not asked here"]
    signed = ask("http://private.example/", headers={"Authorization": "Basic dTpz"})
    assert steps(signed, "basic_auth") == ["passes, if the password is right: it is not checked here"]
    assert steps(ask("http://private.example/"), "basic_auth") == ["refuses with 401: no credentials"]


def test_a_preflight_is_answered(ask: Ask) -> None:
    fields = {"Origin": "https://app.example", "Access-Control-Request-Method": "PUT"}
    found = ask("http://cors.example/", method="OPTIONS", headers=fields)
    assert found.gets == 204
    assert steps(found, "cors") == ["answers the preflight"]
    assert ask("http://cors.example/", method="OPTIONS", headers={**fields, "Origin": "https://x"}).gets == 403


def test_questions_do_not_count_for_each_other() -> None:
    config = {
        "listen": ["http://:8080"],
        "networks": {"banned": {"learn": {"scan": "3/1m", "limited": "3/1m"}}},
        "dispatch": [
            {"path": "/slow", "handler": "respond", "rate_limit": "2/s", "deny": "banned"},
            {"path": "/x", "handler": "respond", "deny": "banned"},
        ],
    }
    with asking(config) as question:
        assert {question("http://a:8080/slow").gets for _ in range(20)} == {200}
        assert {question("http://a:8080/none").gets for _ in range(20)} == {404}
        assert question("http://a:8080/x").gets == 200


def test_limits_are_those_of_a_server_that_has_just_started(ask: Ask) -> None:
    assert {ask("http://nas.home/api/x", client="10.0.0.1").gets for _ in range(3)} == {""}
    assert {ask("http://cors.example/").gets for _ in range(20)} == {200}
