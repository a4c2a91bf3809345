"""What middleware decides of a request."""

from __future__ import annotations

from collections.abc import Callable

from npserver.explain.explanation import Explanation
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


def test_limits_are_those_of_a_server_that_has_just_started(ask: Ask) -> None:
    assert {ask("http://nas.home/api/x", client="10.0.0.1").gets for _ in range(3)} == {""}
    assert {ask("http://cors.example/").gets for _ in range(20)} == {200}
