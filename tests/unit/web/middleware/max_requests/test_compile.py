"""`max_requests` in the config, and what is said of it.

Covers `web.rule_names`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.runtime.compilation import Compilation
from npserver.web.middleware.max_requests.compile import compile_max_requests
from tests.stage.worker import make_context


def compiled(*rules: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return what the limits are called, and what is said."""
    text = json.dumps({"listen": ["http://127.0.0.1:0"], "dispatch": [{"handler": "respond", **one} for one in rules]})
    compilation = Compilation(load_text(text, "config"), make_context())
    found = []
    for index, rule in enumerate(compilation.config.dispatch):
        one = compile_max_requests(compilation, ("dispatch", index), rule)  # type: ignore[arg-type]
        found.append(repr(one))
    return found, [str(problem) for problem in compilation.report.problems]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "no limit: all pass; set 'all' or 'per_client', or leave 'max_requests' out"),
        ({}, "no limit: all pass; set 'all' or 'per_client', or leave 'max_requests' out"),
        ({"all": 3, "per_client": 4}, "never reached: 'all' is 3"),
        ({"all": 3, "ipv6_prefix": 48}, "no effect without 'per_client'"),
    ],
)
def test_what_has_no_effect_is_told(value: Any, message: str) -> None:
    _, (found,) = compiled({"max_requests": value})
    assert message in found


def test_rules_have_names_that_outlive_a_reload() -> None:
    names, said = compiled(
        {"max_requests": 1},
        {"path": "/a/**", "host": ["a.example", "b.example"], "max_requests": {"per_client": 1}},
        {"path": "/a/**", "host": ["a.example", "b.example"], "max_requests": 7, "match": {"method": "GET"}},
        {"name": "api", "path": "/api", "max_requests": {"all": 9, "per_client": 9}},
        {"path": "/x"},
    )
    expected = ["/**", "a.example,b.example/a/**", "a.example,b.example/a/** #2", "api"]
    assert names == [*[f"<RequestsInProgress {name} 0>" for name in expected], "None"]
    assert said == []
