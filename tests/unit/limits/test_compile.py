"""Rate limits in the config, and what is said about those that are wrong.

Covers `web.middleware.rate_limit.compile`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.limits.compile import CompiledLimit, check_rate_limits, compile_limit
from npserver.limits.config import RateLimit
from npserver.runtime.compilation import Compilation
from npserver.web.middleware.order import compile_middleware
from npserver.web.middleware.rate_limit.compile import compile_rate_limit
from npserver.web.middleware.rate_limit.limit import RateCheck, RateGate
from tests.stage.exchanges import exchange
from tests.stage.worker import make_context


def compilation(*rules: dict[str, Any], **config: Any) -> Compilation:
    dispatch = [{"handler": "respond", **rule} for rule in rules]
    text = json.dumps({"listen": ["http://127.0.0.1:0"], "dispatch": dispatch, **config}, indent=1)
    return Compilation(load_text(text, "config"), make_context())


def said(*rules: dict[str, Any], **config: Any) -> list[str]:
    """Return what is said of these rules and limits."""
    compiled = compilation(*rules, **config)
    check_rate_limits(compiled)
    for index, rule in enumerate(compiled.config.dispatch):
        compile_rate_limit(compiled, ("dispatch", index), rule)  # type: ignore[arg-type]
    return [one.message for one in compiled.report.problems]


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("aip", "unknown rate limit 'aip', did you mean 'api'?"),
        ("10/y", 'expected a rate such as "10/s", "5/m" or "1000/h", got \'10/y\''),
        ("10", 'expected a rate such as "10/s", "5/m" or "1000/h", got \'10\''),
        ("0", "a rate of '0' is no limit: all pass; to refuse all, use 'deny'"),
        ({"rate": "0/s"}, "a rate of '0/s' is no limit: all pass; to refuse all, use 'deny'"),
        ({"rate": "10/0s"}, "a rate needs a time above 0, got '10/0s'"),
        ({"rate": "1/d", "burst": 9999}, "a burst of 9999 at '1/d' takes more than ten years to come back: lower it"),
        ({"rate": "1/s", "key": "$clinet_ip"}, "no variable $clinet_ip, did you mean $client_ip?"),
        ({"rate": "1/s", "methods": ["GET", "post"]}, "expected a method such as \"POST\", got 'post'"),
    ],
)
def test_each_way_to_get_it_wrong_is_told(limit: Any, message: str) -> None:
    assert said({"rate_limit": limit}, rate_limits={"api": {"rate": "10/s"}}) == [message]


def test_what_is_wrong_with_a_named_limit_is_told_once_and_where_it_stands() -> None:
    rules = [{"path": f"/{number}", "rate_limit": "api"} for number in range(2)]
    found = said(*rules, rate_limits={"api": {"rate": "10"}, "10/s": {"rate": "10/s"}})
    assert found == [
        'expected a rate such as "10/s", "5/m" or "1000/h", got \'10\'',
        "a name must not look like a rate, got '10/s'",
    ]


def test_it_is_told_where_it_stands() -> None:
    compiled = compilation(rate_limits={"api": {"rate": "10", "burst": 2}})
    check_rate_limits(compiled)
    (problem,) = compiled.report.problems
    assert (problem.line, problem.column) == (8, 12)


def test_names_are_unknown_where_none_are_defined() -> None:
    (found,) = said({"rate_limit": "api"})
    assert '(no "rate_limits" are defined)' in found


def limits(*rules: dict[str, Any], **config: Any) -> list[CompiledLimit]:
    compiled = compilation(*rules, **config)
    found = []
    for index, rule in enumerate(compiled.config.dispatch):
        path = ("dispatch", index, "rate_limit")
        limit = compile_limit(compiled, path, rule.rate_limit, (rule.listener, rule.path))  # type: ignore[union-attr,arg-type]
        assert limit is not None
        found.append(limit)
    return found


def test_rules_share_what_a_named_limit_counts_and_inline_limits_count_apart() -> None:
    api = {"api": {"rate": "10/s"}}
    one, two, *others = limits(
        {"path": "/1", "rate_limit": "api"}, {"path": "/2", "rate_limit": "api"},
        *({"path": path, "rate_limit": "10/s"} for path in ("/3", "/4", "/4")),
        rate_limits=api,
    )  # fmt: skip
    assert one.identity == two.identity
    assert len({one.identity, *(other.identity for other in others)}) == 4
    assert (one.name, one.decided_by) == ("api", "dispatch[0].rate_limit, rate_limits.api")
    assert (others[0].name, others[0].decided_by) == ("dispatch[2]", "dispatch[2].rate_limit")


def test_an_inline_limit_is_the_same_after_a_reload_that_adds_rules_and_another_with_another_rate() -> None:
    (before,) = limits({"path": "/a", "rate_limit": "10/s"})
    _, after = limits({"path": "/new", "rate_limit": "10/s"}, {"path": "/a", "rate_limit": "10/s"})
    (changed,) = limits({"path": "/a", "rate_limit": "11/s"})
    assert before.identity == after.identity != changed.identity


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("$client_ip", RateGate),
        ("all", RateGate),
        ("$host $client_ip $header.x-api-key", RateGate),
        ("$tls_client_subject", RateCheck),
        ("$scheme", RateCheck),
    ],
)
def test_a_key_of_the_head_needs_no_exchange(key: str, kind: type) -> None:
    compiled = compilation({"rate_limit": {"rate": "1/s", "key": key}})
    rule: Any = compiled.config.dispatch[0]
    assert type(compile_rate_limit(compiled, ("dispatch", 0), rule)) is kind
    assert compiled.report.problems == []


@pytest.mark.parametrize(
    ("jwt", "said"),
    [
        ({"secret": "x" * 32, "audience": "a"}, []),
        (None, ["the rule has no 'jwt': all requests count as one user's, by $jwt.sub"]),
    ],
)
def test_a_limit_of_users_stands_after_the_sign_in(jwt: Any, said: list[str]) -> None:
    rule: dict[str, Any] = {"rate_limit": {"rate": "1/s", "key": "$jwt.sub"}}
    compiled = compilation({**rule, "jwt": jwt} if jwt else rule)
    found: Any = compiled.config.dispatch[0]
    kinds = [type(one).__name__ for one in compile_middleware(compiled, ("dispatch", 0), found)]
    assert kinds == [*(["JwtCheck"] if jwt else []), "RateCheck"]
    assert [one.message for one in compiled.report.problems] == said


def test_a_prefix_of_addresses_that_are_no_key_is_told() -> None:
    compiled = compilation({"rate_limit": {"rate": "1/s", "key": "$host", "ipv6_prefix": 48}})
    rule: Any = compiled.config.dispatch[0]
    compile_middleware(compiled, ("dispatch", 0), rule)
    assert [one.message for one in compiled.report.problems] == ["no effect: 'key' has no $client_ip, it is '$host'"]


@pytest.mark.parametrize("value", ["", "0"])
def test_a_limit_that_is_set_to_nothing_is_told(value: str) -> None:
    compiled = compilation({"rate_limit": value})
    rule: Any = compiled.config.dispatch[0]
    compile_middleware(compiled, ("dispatch", 0), rule)
    assert len(compiled.report.problems) == 1


@pytest.mark.parametrize(
    ("key", "changes", "other", "together"),
    [
        ("all", {}, "192.0.2.2", True),
        ("$header.x-key", {"known_fields": {b"x-key": b"a"}}, "192.0.2.1", False),
        ("$header.x-key", {"known_fields": {b"x-key": b"k" * 5000}}, "192.0.2.1", False),
        ("$host", {"host": "example.org"}, "192.0.2.1", False),
        ("$client_ip/$path", {}, "192.0.2.2", False),
        ("$client_ip/$path", {}, "192.0.2.1", True),
    ],
)
def test_what_has_the_same_key_counts_together(key: str, changes: Any, other: str, together: bool) -> None:
    compiled = compilation({"rate_limit": {"rate": "1/h", "key": key}})
    rule: Any = compiled.config.dispatch[0]
    gate = compile_rate_limit(compiled, ("dispatch", 0), rule)
    assert isinstance(gate, RateGate)
    assert gate.gate("192.0.2.1", exchange(known_fields={}).request) is None
    assert (gate.gate(other, exchange(**{"known_fields": {}, **changes}).request) is not None) is together
    assert max(map(len, gate._limiter._places)) <= 64


def test_defaults() -> None:
    section = RateLimit(rate="1/s")
    assert (section.key, section.status, section.ipv6_prefix, section.dry_run) == ("$client_ip", 429, 64, False)
