"""What `check` says of `match`, `from`, `not`, `path_regex` and `name`.

Covers `web.matching.compile` and the proofs of `web.matching.conditions`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.errors import ConfigError
from npserver.process.dry_run import dry_run
from npserver.runtime.scoreboard import Directory


@pytest.fixture(autouse=True)
def _loop() -> Iterator[None]:
    yield
    asyncio.set_event_loop(None)


def check(*rules: dict[str, Any], **config: Any) -> list[str]:
    """Return everything the compilation says, errors and warnings."""
    rules = tuple({"handler": "respond", **rule} for rule in rules)
    text = json.dumps({"listen": ["http://127.0.0.1:0"], "dispatch": rules, **config}, indent=1)
    try:
        return [str(one) for one in dry_run(load_text(text, "config"), Directory()).warnings]
    except ConfigError as error:
        return [str(problem) for problem in error.problems]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"match": {"method": "get"}}, "methods are in upper case: write 'GET'"),
        ({"match": {"method": "GTE"}}, "did you mean 'GET'?"),
        ({"match": {"method": "TRACE"}}, "answered with 405"),
        ({"match": {"method": "G T"}}, "is not a valid method"),
        ({"match": {"methods": "GET"}}, "did you mean 'method'?"),
        ({"match": {"header": {"X A": "1"}}}, "is not a valid header name"),
        ({"match": {"header": {"Host": "a"}}}, "write 'host' in the rule"),
        ({"match": {"header": {"Cookie": "a"}}}, "write 'cookie'"),
        ({"match": {"header": {"upgrade": "websocket"}}}, '"protocol": "websocket"'),
        ({"match": {"header": {"X-Forwarded-For": "10.*"}}}, "write 'from'"),
        ({"match": {"header": {"X-A": "1", "x_a": "2"}}}, "is named twice"),
        ({"match": {"header": {"X-A": []}}}, "no value"),
        ({"match": {"header": {"X-A": " a"}}}, "'X-A': this never holds: ' a' has spaces around it"),
        ({"match": {"header": {"X-A": ["b", "a\nb"]}}}, "this never holds: 'a\\nb' has spaces around it, or a control"),
        ({"not": {"cookie": {"a": "b;c"}}}, "this never holds: 'b;c' has a `;`, which ends a cookie"),
        ({"match": {"cookie": {"a": '"b"'}}}, "is compared without quotes: write 'b'"),
        ({"match": {"cookie": {"a=b": True}}}, "a cookie has a name without spaces around it, `;` and `=`"),
        ({"match": {"query": {"a": 1}}}, "got 1"),
        ({"match": {"protocol": "websockets"}}, "did you mean 'websocket'?"),
        ({"match": {"protocol": "websocket", "method": "POST"}}, "a WebSocket begins with GET"),
        ({"match": {"protocol": "https"}}, "which does not serve https"),
        ({"match": {"protocol": "http/2"}}, "which does not serve http/2"),
        ({"from": "hoem"}, "unknown network 'hoem'"),
        ({"not": {"from": "10.0.0.1/8"}}, "did you mean 10.0.0.0/8"),
        ({"not": {}}, "names no condition"),
        ({"not": [{"method": "GET"}, {}]}, "names no condition"),
        ({"match": {"method": "GET"}, "not": {"method": ["GET", "HEAD"]}}, "excludes all that"),
        ({"from": "10.1.0.0/16", "not": [{"from": "10.0.0.0/8"}]}, "excludes all that"),
        ({"path_regex": "/(a+)+"}, "repeat within a repeat"),
        ({"path_regex": "/a", "path": "/a"}, "beside an exact 'path'"),
        ({"name": ""}, "is not a name"),
        ({"name": "a\tb"}, "is not a name"),
    ],
)
def test_each_mistake_is_named_in_its_place(rule: dict[str, Any], message: str) -> None:
    problems = check(rule)
    assert len(problems) == 1, problems
    assert message in problems[0]
    assert problems[0].startswith("config:")


@pytest.mark.parametrize(
    "keys", [{"match": {"method": "GET"}}, {"from": "10.0.0.0/8"}, {"not": {"method": "GET"}}, {"path_regex": "/a"}]
)
def test_a_name_server_has_no_conditions_but_over_https(keys: dict[str, Any]) -> None:
    zone = {"a.test": {"A": "127.0.0.1"}}
    rules = {"handler": "dns", "listener": "udp://127.0.0.1:0", **keys}
    problems = check(rules, listen=["udp://127.0.0.1:0"], dns=zone)
    assert len(problems) == 1
    assert "carries none: write 'allow' or 'deny'" in problems[0]


def test_two_rules_of_one_name() -> None:
    problems = check({"name": "api", "path": "/a"}, {"name": "api", "path": "/b"})
    assert len(problems) == 1
    assert "has the name 'api' already" in problems[0]


GET = {"match": {"method": "GET"}}
CANARY = {"match": {"method": "GET", "header": {"X-Canary": "1"}}}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, GET),
        (GET, GET),
        (GET, CANARY),
        ({"match": {"method": ["GET", "POST"]}}, GET),
        ({"match": {"query": {"v": "2*"}}}, {"match": {"query": {"v": ["2", "25"]}}}),
        ({"match": {"cookie": {"beta": True}}}, {"match": {"cookie": {"beta": "x"}}}),
        ({"match": {"protocol": "http/1.1"}}, {"match": {"protocol": "websocket"}}),
        ({"from": "10.0.0.0/8"}, {"from": ["10.1.0.0/16", "10.2.0.0/16"]}),
        ({"from": "lan"}, {"from": "10.1.0.0/16", **GET}),
        ({"not": {"method": "GET"}}, {"not": [{"method": ["GET", "HEAD"]}]}),
        ({"not": {"method": "GET"}}, {"match": {"method": "POST"}}),
        ({"not": {"header": {"X-A": True}}}, {"match": {"header": {"x-a": False}}}),
        ({"not": {"method": "GET", "query": {"a": "1"}}}, {"not": {"method": "GET"}, "match": {"query": {"a": True}}}),
        ({"path": "/u/*/x"}, {"path": "/u/*/x", **GET}),
        ({"path_regex": "/a+"}, {"path_regex": "/a+"}),
        ({"path_regex": "/a+"}, {"path_regex": "/a+", **GET}),
        ({}, {"path_regex": "/a+"}),
    ],
)
def test_a_rule_behind_one_that_has_all_its_requests_is_never_used(first: Any, second: Any) -> None:
    problems = check(first, second, networks={"lan": ["10.0.0.0/8"]})
    assert len(problems) == 1, problems
    assert "this rule is never used: the rule at config:" in problems[0]
    has_none = not first.keys() & {"match", "from", "not", "path_regex"}
    assert ("no conditions" in problems[0]) is (
        has_none and bool(second.keys() & {"match", "from", "not", "path_regex"})
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (GET, {}),
        (CANARY, GET),
        (GET, {"match": {"method": ["GET", "POST"]}}),
        ({"match": {"query": {"v": "2"}}}, {"match": {"query": {"v": "2*"}}}),
        ({"match": {"header": {"X-A": "1"}}}, {"match": {"query": {"X-A": "1"}}}),
        ({"from": "10.1.0.0/16"}, {"from": "10.0.0.0/8"}),
        ({"from": "10.0.0.0/8"}, {"from": ["10.1.0.0/16", "192.0.2.1"]}),
        ({"not": {"method": "GET"}}, GET),
        ({"path": "/u/*/x"}, {"path": "/u/**"}),
        ({"path": "/u/**"}, {"path": "/u/*/x"}),
        ({"path": "/u/**"}, {"path": "/u/x/**", **GET}),
        ({"path_regex": "/a+"}, {"path_regex": "/b+"}),
        ({"path_regex": "/a+", **GET}, {"path_regex": "/a+"}),
    ],
)
def test_a_rule_that_may_have_requests_is_not_warned_of(first: Any, second: Any) -> None:
    assert check(first, second) == []
