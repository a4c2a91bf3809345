"""Forwarded connections explained: rule and targets."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from npserver.explain.explanation import Explanation

Ask = Callable[..., Explanation]


@pytest.mark.parametrize(
    ("question", "options", "rule", "result"),
    [
        ("tcp://:5432", {"sni": "a.db.home"}, "dispatch[13]", "is passed to tcp://10.0.0.5:5432"),
        ("tcp://:5432", {"sni": "other.home"}, "dispatch[14]", "is passed to tcp://10.0.0.6:5432"),
        ("tcp://:5432", {}, "dispatch[14]", "is passed to tcp://10.0.0.6:5432"),
        ("tcp://:5432", {"client": "10.0.0.1"}, "dispatch[14]", "the connection is closed"),
        ("udp://:7000", {"client": "10.0.0.1"}, "dispatch[15]", "is passed to udp://10.0.0.6:7"),
        ("udp://:7000", {}, "", "the connection is closed"),
    ],
)
def test_rule_and_target(ask: Ask, question: str, options: dict[str, str], rule: str, result: str) -> None:
    found = ask(question, **options)
    assert (found.rule, found.result) == (rule, result)
