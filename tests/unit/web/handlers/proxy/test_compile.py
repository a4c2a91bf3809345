"""Compiling proxy rules and upstreams, and the messages for invalid ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.runtime.compilation import Compilation
from npserver.web.handlers.proxy.compile import compile_proxy
from npserver.web.handlers.proxy.proxy import Proxy
from tests.stage.worker import make_context


def compiled(rule: dict[str, Any], upstreams: dict[str, Any] | None = None) -> tuple[Proxy | None, list[str]]:
    text = json.dumps({"upstreams": upstreams or {}, "dispatch": [{"handler": "proxy", **rule}]})
    document = load_text(text, "test.json")
    compilation = Compilation(document, make_context())
    config: Any = document.config.dispatch[0]
    handler = compile_proxy(compilation, ("dispatch", 0), config)
    return getattr(handler, "proxy", None), [problem.message for problem in compilation.report.problems]


def settings(rule: dict[str, Any], upstreams: dict[str, Any] | None = None) -> Proxy:
    proxy, problems = compiled(rule, upstreams)
    assert not problems
    assert proxy is not None
    return proxy


HTTP = "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("rule", "upstreams", "message"),
    [
        ({"proxy_pass": "tcp://a:1"}, {}, "expected an http, https, h2c or unix target"),
        ({"proxy_pass": "upstream://aap"}, {"app": {"targets": [HTTP]}}, "did you mean 'app'"),
        ({"proxy_pass": "upstream://app"}, {"app": {"targets": ["tcp://a:1"]}}, "speak tcp, not HTTP"),
        ({"proxy_pass": HTTP, "rewrite": {"(": "x"}}, {}, "bad regular expression"),
        ({"proxy_pass": HTTP, "rewrite": {"^/(a)": "/$2"}}, {}, "$2 does not refer to a group"),
        ({"proxy_pass": HTTP, "strip_prefix": "api"}, {}, "path 'api' must start with a slash"),
        ({"proxy_pass": HTTP, "strip_prefix": "/a?b"}, {}, "must not contain a query"),
        ({"proxy_pass": HTTP, "strip_prefix": "/a*/b"}, {}, "a star stands for a whole segment"),
        ({"proxy_pass": HTTP, "strip_prefix": "/b", "path": "/a/**"}, {}, "no path of /a/** begins with '/b'"),
        ({"proxy_pass": HTTP, "strip_prefix": "/ap", "path": "/api/**"}, {}, "no path of /api/** begins with '/ap'"),
        ({"proxy_pass": HTTP, "strip_prefix": "/a/b", "path": "/a"}, {}, "no path of /a begins with '/a/b'"),
        ({"proxy_pass": HTTP, "headers": {"Content-Length": "5"}}, {}, "Content-Length"),
        ({"proxy_pass": HTTP, "headers": {"X": "$nothing"}}, {}, "nothing"),
        ({"proxy_pass": "upstream://app"}, {"app": {"targets": []}}, "has no targets"),
        (
            {"proxy_pass": "upstream://app", "balance": "hash"},
            {"app": {"targets": [HTTP]}},
            "needs 'hash' of upstream 'app'",
        ),
        (
            {"proxy_pass": "upstream://app"},
            {"app": {"targets": [HTTP], "balance": "hash", "hash": "x"}},
            "all requests would go to one target: 'x' has no $variable",
        ),
        (
            {"proxy_pass": "upstream://app"},
            {"app": {"targets": [HTTP], "balance": "hash", "hash": "$upstream"}},
            "$upstream is empty: it is the target, which is chosen by this",
        ),
        (
            {"proxy_pass": "upstream://app"},
            {"app": {"targets": [HTTP], "balance": "hash", "hash": "$header"}},
            "no variable $header",
        ),
        ({"proxy_pass": HTTP, "split": {"upstream://app": "5%"}}, {}, "unknown upstream 'app'"),
        ({"proxy_pass": HTTP, "split": {HTTP: "5%"}}, {}, "is 'proxy_pass' too, which gets the rest"),
        ({"proxy_pass": HTTP, "split": {HTTP + "1": "5"}}, {}, "expected a share"),
        (
            {"proxy_pass": HTTP, "split": {HTTP + "1": "60%", HTTP + "2": "41%"}},
            {},
            "101% together: more than there is",
        ),
        ({"proxy_pass": HTTP, "split": {HTTP + "1": "5%"}, "split_by": "$nothing"}, {}, "no variable $nothing"),
        ({"proxy_pass": HTTP, "split": {HTTP + "1": "5%"}, "split_by": "x"}, {}, "all clients would get the same"),
        (
            {"proxy_pass": HTTP, "split": {HTTP + "1": "5%"}, "split_by": "$host$upstream"},
            {},
            "$upstream is empty: it is the target, which is chosen later",
        ),
        ({"proxy_pass": HTTP, "split_by": "$host"}, {}, "'split_by' has no effect without 'split'"),
        ({"proxy_pass": HTTP, "tls": {"http2": True}}, {}, f"'tls' has no effect: '{HTTP}' is not https"),
        ({"proxy_pass": HTTP, "mirror": {"to": "upstream://app"}}, {}, "unknown upstream 'app'"),
        ({"proxy_pass": HTTP, "mirror": {"to": HTTP}}, {}, "is 'proxy_pass' too: it gets each copied request twice"),
        ({"proxy_pass": HTTP, "mirror": {"to": HTTP, "share": "x"}}, {}, "expected a share"),
        ({"proxy_pass": HTTP, "mirror": {"to": HTTP, "share": "0%"}}, {}, "nothing is copied with a share of 0%"),
        (
            {"proxy_pass": HTTP, "mirror": {"to": "upstream://app"}},
            {"app": {"targets": [{"uri": HTTP, "send_proxy": "v1"}]}},
            "copies cannot be sent to targets with 'send_proxy'",
        ),
        ({"proxy_pass": HTTP, "request_buffering": {"directory": "/nix/spool"}}, {}, "'/nix/spool' is not a directory"),
        ({"proxy_pass": HTTP, "response_buffering": {"directory": "/dev/null"}}, {}, "'/dev/null' is not a directory"),
    ],
)
def test_mistakes_are_told(rule: dict[str, Any], upstreams: dict[str, Any], message: str) -> None:
    _, problems = compiled(rule, upstreams)
    assert any(message in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("rule", "strip"),
    [
        ({"path": "/a/b/**", "strip_prefix": "/a"}, "/a"),
        ({"path": "/a/**", "strip_prefix": "/a/b/"}, "/a/b"),
        ({"path": "/a/**", "strip_prefix": "/a/**"}, "/a"),
        ({"path": "/**", "strip_prefix": "/a b"}, "/a%20b"),
        ({"path": "/a b/**", "strip_prefix": True}, "/a%20b"),
        ({"path": "/a", "strip_prefix": True}, "/a"),
        ({"path": "/**", "strip_prefix": "/"}, ""),
        ({"path": "/**", "strip_prefix": True}, ""),
    ],
)
def test_a_prefix_is_written_as_paths_of_rules_are(rule: dict[str, Any], strip: str) -> None:
    assert settings({"proxy_pass": HTTP, **rule}).settings.strip == strip


def test_each_mistake_is_told_once() -> None:
    _, problems = compiled({"proxy_pass": "ftp://x", "strip_prefix": "a"})
    assert len(problems) == len(set(problems)) == 2


def test_a_rule_overrides_its_upstream() -> None:
    upstreams = {"app": {"targets": [HTTP], "balance": "random", "retries": 5, "keepalive_pool_size": 9}}
    plain = settings({"proxy_pass": "upstream://app"}, upstreams)
    assert plain.upstream.section.balance == "random"
    assert (plain.retry.retries, plain.settings.client.pool_size) == (5, 9)
    rule = {"proxy_pass": "upstream://app", "balance": "ip-hash", "retries": 1, "keepalive_pool_size": 3}
    other = settings(rule, upstreams)
    assert other.upstream.section.balance == "ip-hash"
    assert (other.retry.retries, other.settings.client.pool_size) == (1, 3)
    assert settings({"proxy_pass": "upstream://app", "keepalive": False}, upstreams).settings.client.pool_size == 0


def test_times_come_with_their_keys() -> None:
    client = settings({"proxy_pass": HTTP, "timeout": "2m"}).settings.client
    assert (client.response_timeout_s, client.read_timeout_s, client.response_key) == (120, 120, "dispatch[0].timeout")
    client = settings({"proxy_pass": HTTP, "timeouts": {"response": 5, "read": "1m"}}).settings.client
    assert (client.response_timeout_s, client.read_timeout_s, client.read_key) == (5, 60, "dispatch[0].timeouts.read")
    upstreams = {"app": {"targets": [HTTP], "proxy_timeout_seconds": 3}}
    proxy = settings({"proxy_pass": "upstream://app"}, upstreams)
    assert (proxy.upstream.section.proxy_timeout_seconds, proxy.settings.connect_key) == (
        3,
        "upstreams.app.proxy_timeout_seconds",
    )
    proxy = settings({"proxy_pass": "upstream://app", "timeouts": {"connect": 1}}, upstreams)
    assert (proxy.upstream.section.proxy_timeout_seconds, proxy.settings.connect_key) == (
        1,
        "dispatch[0].timeouts.connect",
    )


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        ("http://example.test", "example.test"),
        ("http://example.test:80", "example.test"),
        ("http://example.test:8080", "example.test:8080"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("http://[::1]", "[::1]"),
        ("unix:///run/app.sock", "localhost"),
    ],
)
def test_a_target_has_its_host(uri: str, host: str) -> None:
    assert settings({"proxy_pass": uri}).upstream.targets[0].authority == host
