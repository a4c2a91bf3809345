"""The rules that a request beats, with the reason."""

from __future__ import annotations

from collections.abc import Callable

from npserver.explain.explanation import Explanation
from npserver.testing import asking
from tests.stage.explained import steps

Ask = Callable[..., Explanation]


def test_a_listener_without_rules_has_one_of_its_own() -> None:
    with asking({"listen": ["http://:8080"]}) as question:
        (rule,) = steps(question("http://x:8080/"), "rule")
    assert rule.startswith("root  ")


def test_rules_that_are_beaten_are_named_with_the_reason(ask: Ask) -> None:
    found = ask("http://nas.home/api/x", client="10.0.0.1")
    assert steps(found, "beats") == [
        "dispatch[1]: its path /** is less specific than /api/**",
        "dispatch[2]: its host *.home is less specific than nas.home",
    ]
    assert steps(found, "passed over") == ["dispatch[3]: 'match.method' does not hold"]
    later = ask("http://x.home/", client="10.0.0.1", method="POST")
    assert steps(later, "beats") == ["dispatch[3]: it comes later, for the same host and path"]
