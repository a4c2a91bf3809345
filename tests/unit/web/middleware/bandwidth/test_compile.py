"""`bandwidth` in the config, and what is said of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.errors import ConfigError
from npserver.runtime.compilation import Compilation
from npserver.web.middleware.bandwidth.compile import compile_bandwidth
from tests.stage.worker import make_context


def compiled(value: Any) -> tuple[Any, list[str]]:
    rule = {"handler": "respond", "bandwidth": value}
    text = json.dumps({"listen": ["http://127.0.0.1:0"], "dispatch": [rule]})
    compilation = Compilation(load_text(text, "config"), make_context())
    found: Any = compilation.config.dispatch[0]
    return compile_bandwidth(compilation, ("dispatch", 0), found), [one.message for one in compilation.report.problems]


@pytest.mark.parametrize(
    ("value", "per_answer", "per_client"),
    [
        ("1m", 1 << 20, 0),
        (5000, 5000, 0),
        ({"per_answer": "1m"}, 1 << 20, 0),
        ({"per_client": "2m", "per_answer": "1m", "after": "5m"}, 1 << 20, 2 << 20),
    ],
)
def test_a_bandwidth_is_of_answers_or_of_clients(value: Any, per_answer: int, per_client: int) -> None:
    found, said = compiled(value)
    assert (found.section.per_answer, found.section.per_client) == (per_answer, per_client)
    assert said == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "no limit: set 'per_answer' or 'per_client', or leave 'bandwidth' out"),
        ({"after": "1m"}, "no limit: set 'per_answer' or 'per_client', or leave 'bandwidth' out"),
        ({"per_client": "1m", "after": "1m"}, "no effect without 'per_answer'"),
        ({"per_client": "1k", "per_answer": "1m"}, "never reached: 'per_client' is 1024"),
        ({"per_answer": "1m", "ipv6_prefix": 48}, "no effect without 'per_client'"),
    ],
)
def test_what_has_no_effect_is_told(value: Any, message: str) -> None:
    assert compiled(value)[1] == [message]


@pytest.mark.parametrize("value", ["fast", -1, "1 mile", {"per_anser": "1m"}])
def test_what_is_no_size_is_an_error(value: Any) -> None:
    with pytest.raises(ConfigError):
        compiled(value)
