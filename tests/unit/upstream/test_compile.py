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
        ({"targets": [UDP], "health_check": {}}, "{}", "connect over TCP and require 'port'"),
        (
            {"targets": [TCP], "health_check": {"type": "http"}}, '"http"',
            "checks of type 'http' require http, https or unix targets",
        ),
        ({"targets": [HTTP], "health_check": {"path": "x"}}, '"x"', "must start with '/', got 'x'"),
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
