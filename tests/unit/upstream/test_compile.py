"""Compiling upstreams: targets, TLS settings of rules, services, and the messages for invalid configs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from npserver.address import parse_target
from npserver.config.load import load_text
from npserver.errors import Severity
from npserver.runtime.compilation import Compilation
from npserver.upstream.compile import UPSTREAMS, find_upstream, single_target, with_tls
from npserver.upstream.config import UpstreamTls
from npserver.upstream.group import Upstream
from npserver.upstream.health_checks import HealthChecks
from tests.stage.worker import make_context

HTTP, HTTPS, TCP, UDP = "http://10.0.0.1:80", "https://10.0.0.2:443", "tcp://10.0.0.3:1", "udp://10.0.0.4:1"


def compilation_of(**upstreams: Any) -> Compilation:
    return Compilation(load_text(json.dumps({"upstreams": upstreams}), "test.json"), make_context())


def compiled(targets: list[Any], **settings: Any) -> Upstream:
    compilation = compilation_of(app={"targets": targets, **settings})
    upstream = UPSTREAMS.of(compilation)["app"]
    assert not compilation.report.problems
    return upstream


@pytest.mark.parametrize(
    ("settings", "at", "message"),
    [
        ({"targets": []}, "[]", "upstream 'app' has no targets"),
        ({"targets": ["ftp://a"]}, '"ftp:', "unknown scheme"),
        ({"targets": [HTTP, {"uri": "ftp://a"}]}, '"ftp:', "unknown scheme"),
        ({"targets": ["upstream://b"]}, '"upstream:', "must be an address, not another upstream: 'upstream://b'"),
        ({"targets": [HTTP + "/base"]}, '"http:', "a target of an upstream has no path, got '/base'"),
        ({"targets": [HTTP, HTTP]}, f'"{HTTP}"]', f"duplicate target '{HTTP}'"),
        ({"targets": [HTTP, HTTP + "/"]}, f'"{HTTP}/"', f"duplicate target '{HTTP}'"),
        ({"targets": [HTTP, TCP]}, "[", "cannot mix HTTP targets with others, got http, tcp"),
        (
            {"targets": [HTTP, {"uri": HTTPS, "send_proxy": "v1"}]}, '"v1"',
            f"'send_proxy' cannot be used with https targets, got '{HTTPS}'",
        ),
        (
            {"targets": [{"uri": "h2c://a:1", "send_proxy": "v1"}]}, '"v1"',
            "'send_proxy' cannot be used with h2c targets, got 'h2c://a:1'",
        ),
        ({"targets": [HTTP], "health": {}}, "{}", "'health' has no effect: the last target"),
        ({"targets": [HTTP, HTTPS], "health": {"errors": "50"}}, '"50"', "expected a share from"),
        ({"targets": [HTTP, HTTPS], "health": {"errors": "0%"}}, '"0%"', "'errors' must be above 0%"),
        ({"targets": [HTTP], "retry_budget": "101%"}, '"101%"', 'expected a share from "0%" to "100%", got'),
        ({"targets": [HTTP], "retry_budget": "9%", "retries": 0}, '"9%"', "no effect: 'retries' is 0"),
        ({"targets": [HTTP], "balance": "hash"}, '"hash"', "'balance' \"hash\" needs 'hash', what to hash"),
        ({"targets": [HTTP], "queue": 10}, "10", "'queue' has no effect: set 'wait'"),
        (
            {"targets": [HTTP], "wait": "1s", "retry_timeout_seconds": 0}, '"1s"',
            "'wait' needs 'retry_timeout_seconds' above 0",
        ),
        ({"targets": [UDP], "wait": "1s"}, '"1s"', "'wait' has no effect: datagrams do not wait"),
        ({"targets": [UDP], "health_check": {}}, "{}", "connect over TCP and require 'port'"),
        (
            {"targets": [TCP], "health_check": {"type": "http"}}, '"http"',
            "checks of type 'http' require http, https, h2c or unix targets",
        ),
        ({"targets": [HTTP], "health_check": {"path": "x"}}, '"x"', "must start with '/'"),
        ({"targets": [HTTP], "health_check": {"path": "/ x"}}, '"/ x"', "without spaces and control characters"),
        ({"targets": [HTTP], "health_check": {"method": "GE T"}}, '"GE T"', "not a method of a check: 'GE T'"),
        ({"targets": [HTTP], "health_check": {"method": "CONNECT"}}, '"CONNECT"', "not a method of a check"),
        ({"targets": [HTTP], "health_check": {"host": "a b"}}, '"a b"', "not a host: 'a b'"),
        ({"targets": [HTTP], "health_check": {"headers": {"A B": "x"}}}, '"x"', "'A B' is not a header name"),
        ({"targets": [HTTP], "health_check": {"headers": {"Host": "x"}}}, '"x"', "Host cannot be set: use 'host'"),
        ({"targets": [HTTP], "health_check": {"headers": {"A": "s\r\nB: c"}}}, '"s', "the value of A has control char"),
        (
            {"targets": [HTTP], "health_check": {"method": "HEAD", "expect": {"body": "ok"}}}, '{"body"',
            "the answer to HEAD has no body: use GET",
        ),
        ({"targets": [HTTP], "health_check": {"expect": {"body_regex": "("}}}, '"("', "is not a regular expression"),
        (
            {"targets": [HTTP], "health_check": {"expect": {"body_regex": "(a+)+$"}}}, '"(a+)+$"',
            "regular expression '(a+)+$': it may take forever: a repeat within a repeat",
        ),
        ({"targets": [HTTP], "health_check": {"expect": {"body_regex": r"\u00e9"}}}, r'"\\u00e9"', "bad escape"),
        ({"targets": [TCP], "health_check": {"headers": {"A": "x"}}}, '{"A"', "the check only connects"),
        (
            {"targets": [HTTP], "health_check": {"type": "tcp", "method": "HEAD"}}, '"HEAD"',
            "'method' has no effect: the check only connects",
        ),
        (
            {"targets": [HTTP], "health_check": {"service": "shop.Orders"}}, '"shop.Orders"',
            "'service' has no effect: it is of grpc checks; set 'type' to \"grpc\"",
        ),
        (
            {"targets": [HTTP], "health_check": {"type": "grpc", "path": "/healthz"}}, '"/healthz"',
            "'path' has no effect: it is of http checks; remove it, or use 'service'",
        ),
        ({"targets": [TCP], "health_check": {"type": "grpc", "method": "HEAD"}}, '"HEAD"', "'method' has no effect"),
        ({"targets": [HTTP], "health_check": {"type": "grpc", "headers": {"A": "x"}}}, '{"A"', "'headers' has no"),
        ({"targets": [HTTP], "health_check": {"type": "grpc", "expect": {"status": 200}}}, '{"status"', "'expect' has"),
        ({"targets": [HTTP], "health_check": {"type": "grpc", "service": "é" * 513}}, '"', "at most 1024 bytes"),
        ({"targets": [HTTP], "health_check": {"type": "fastcgi"}}, '"fastcgi"', "require tcp or unix targets"),
        ({"targets": [UDP], "health_check": {"type": "grpc"}}, '{"type"', "connect over TCP and require 'port'"),
        (
            {"targets": [HTTP], "health_check": {"expect": {"status": "2xx"}}}, '"2xx"',
            "expected a status such as 200 or a range such as \"200-399\", got '2xx'",
        ),
        (
            {"targets": [HTTP], "health_check": {"expect": {"status": "399-200"}}}, '"399-200"',
            "expected statuses between 100 and 599, the lower one first, got '399-200'",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_told_at_their_place(settings: dict[str, Any], at: str, message: str) -> None:
    """`at`: the text at the position of the problem."""
    compilation = compilation_of(app=settings)
    UPSTREAMS.of(compilation)
    (problem,) = compilation.report.problems
    assert problem.severity is Severity.ERROR
    assert message in problem.message
    text = json.dumps({"upstreams": {"app": settings}})
    assert text[problem.column - 1 :].startswith(at)


@pytest.mark.parametrize(
    ("settings", "at", "message"),
    [
        ({"targets": [HTTP], "hash": "$path"}, '"$path"', "'hash' has no effect: 'balance' is \"round-robin\""),
        (
            {"targets": [HTTP, HTTPS], "wait": "5s"}, '"5s"',
            "'wait' is not longer than 'proxy_timeout_seconds': a target that takes no connections uses it up",
        ),
        ({"targets": [HTTP], "tls": {"ca": "ca.pem"}}, '{"ca"', "'tls' has no effect: no target is https or ssl"),
        ({"targets": ["ssl://a:1"], "tls": {"http2": True}}, "true", "'http2' has no effect: no target is https"),
        ({"targets": [HTTPS], "http2": {"max_age": "1h"}}, "{", "'http2' has no effect: no target is h2c"),
        (
            {"targets": ["h2c://a:1"], "http2": {"ping_interval": 0, "ping_timeout": 5}}, "5",
            "'ping_timeout' has no effect: 'ping_interval' is 0",
        ),
        (
            {"targets": [HTTP], "health_check": {"type": "tcp", "path": "/ok"}}, '"/ok"',
            "'path' has no effect: the check only connects",
        ),
        (
            {"targets": [TCP], "health_check": {"expect": {"body": "ok"}}}, '{"body"',
            "'expect' has no effect: the check only connects",
        ),
    ],
)  # fmt: skip
def test_what_has_no_effect_or_a_bad_one_is_warned_of(settings: dict[str, Any], at: str, message: str) -> None:
    compilation = compilation_of(app=settings)
    UPSTREAMS.of(compilation)
    (problem,) = compilation.report.problems
    assert problem.severity is Severity.WARNING
    assert message in problem.message
    assert json.dumps({"upstreams": {"app": settings}})[problem.column - 1 :].startswith(at)


@pytest.mark.parametrize(
    "settings",
    [
        {"targets": [HTTP], "wait": "5s"},
        {"targets": [HTTP, HTTPS], "wait": "6s"},
        {"targets": [HTTP, HTTPS], "wait": "1s", "proxy_timeout_seconds": "500ms"},
        {"targets": [HTTP, HTTPS]},
    ],
)
def test_a_wait_that_leaves_time_for_other_targets_is_fine(settings: dict[str, Any]) -> None:
    compilation = compilation_of(app=settings)
    UPSTREAMS.of(compilation)
    assert compilation.report.problems == []


def test_what_a_rule_uses_has_an_effect() -> None:
    rule = {"handler": "proxy", "proxy_pass": "upstream://app", "balance": "hash"}
    config = {"upstreams": {"app": {"targets": [HTTP], "hash": "$path"}}, "dispatch": [rule]}
    compilation = Compilation(load_text(json.dumps(config), "test.json"), make_context())
    UPSTREAMS.of(compilation)
    assert compilation.report.problems == []


@pytest.mark.parametrize("target", [{"uri": HTTP, "backup": True}, {"uri": HTTP, "weight": 0}])
def test_an_upstream_of_which_no_target_is_used_is_warned_about(target: dict[str, Any]) -> None:
    compilation = compilation_of(app={"targets": [target]})
    assert "app" in UPSTREAMS.of(compilation)
    (problem,) = compilation.report.problems
    assert problem.severity is Severity.WARNING
    assert "'app' has only targets that are a backup or have weight 0" in problem.message


@pytest.mark.parametrize(
    "targets", [[HTTP, HTTPS, "unix:///a"], [TCP, UDP, "ssl://a:1", "unix:///a", "unixgram:///b"], ["unix:///a"]]
)
def test_schemes_that_one_upstream_can_mix(targets: list[str]) -> None:
    assert [target.uri for target in compiled(targets).targets]


def test_an_unknown_upstream_is_told_with_the_nearest_name() -> None:
    compilation = compilation_of(backend={"targets": [HTTP]})
    assert find_upstream(compilation, ("dispatch", 0), parse_target("upstream://backend")) is not None
    assert find_upstream(compilation, ("dispatch", 0), parse_target("upstream://bakend")) is None
    (problem,) = compilation.report.problems
    assert problem.message == "unknown upstream 'bakend'; did you mean 'backend'?"


def test_an_invalid_upstream_is_told_once_however_many_rules_use_it() -> None:
    compilation = compilation_of(app={"targets": []})
    for _ in range(2):
        assert find_upstream(compilation, ("dispatch", 0), parse_target("upstream://app")) is None
    assert len(compilation.report.problems) == 1


def test_tls_settings_of_a_rule_keep_everything_else() -> None:
    target = {"uri": HTTPS, "weight": 3, "backup": True, "max_connections": 7}
    compilation = compilation_of(app={"targets": [target, HTTP], "health_check": {}, "retry_timeout_seconds": 9})
    plain = UPSTREAMS.of(compilation)["app"]
    other = with_tls(compilation, ("dispatch", 0, "tls"), plain, UpstreamTls(server_name="other.test"))
    secure, unchanged = other.targets
    assert (secure.server_name, plain.targets[0].server_name) == ("other.test", "10.0.0.2")
    assert secure.pool is not plain.targets[0].pool
    assert unchanged.pool is plain.targets[1].pool
    assert (secure.section.weight, secure.section.backup, secure.section.max_connections) == (3, True, 7)
    assert (secure.settings.is_checked, secure.settings.retry_timeout_s) == (True, 9)
    assert secure.state is plain.targets[0].state
    assert secure.active_slot == plain.targets[0].active_slot


def test_only_tls_targets_have_a_tls_context() -> None:
    first, second = compiled([HTTP, HTTPS]).targets
    assert first.tls is None
    assert second.tls is not None
    one = single_target(compilation_of(), ("dispatch", 0, "proxy_pass"), parse_target(HTTPS))
    assert one.targets[0].tls is not None


def test_health_checks_are_a_service() -> None:
    compilation = compilation_of(app={"targets": [HTTP], "health_check": {}}, unchecked={"targets": [HTTP]})
    UPSTREAMS.of(compilation)
    (service,) = compilation.services
    assert isinstance(service, HealthChecks)
    assert repr(service) == "<HealthChecks app>"


def test_grpc_checks_have_tls_of_their_own_and_what_is_wrong_with_it_is_told_once() -> None:
    upstream = {"targets": [HTTPS], "health_check": {"type": "grpc"}, "tls": {"insecure": True}}
    compilation = compilation_of(app=upstream)
    UPSTREAMS.of(compilation)
    (problem,) = compilation.report.problems
    assert "upstream certificates are not verified" in problem.message
    upstream["tls"] = {"ca": "/none"}
    compilation = compilation_of(app=upstream)
    UPSTREAMS.of(compilation)
    (problem,) = compilation.report.problems
    assert problem.severity is Severity.ERROR
