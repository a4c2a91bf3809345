"""Forward rules compiled, and the messages about rules that are wrong or have keys without effect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.errors import Severity
from npserver.forward.compile import compile_forward_front
from npserver.forward.datagrams import DatagramForward
from npserver.forward.messages import MessageForward
from npserver.forward.stream_router import StreamRouter
from npserver.forward.streams import StreamForward
from npserver.listen.compile import compile_listeners
from npserver.program.assignment import assign_rules
from npserver.runtime.compilation import Compilation
from tests.stage.worker import make_context

TCP, UDP = "tcp://127.0.0.1:9000", "udp://127.0.0.1:9000"


def compiled(listen: str, *rules: dict[str, Any], **config: Any) -> tuple[Any, list[str], list[str]]:
    """The front, the errors, the warnings."""
    dispatch = [{"handler": "forward", "listener": "in", **rule} for rule in rules]
    text = json.dumps({"listen": [{"name": "in", "uri": listen}], "dispatch": dispatch, **config})
    document = load_text(text, "test.json")
    compilation = Compilation(document, make_context())
    report = compilation.report
    listeners = compile_listeners(compilation)
    rules_of = assign_rules(report, listeners)
    front = compile_forward_front(compilation, listeners[0], rules_of[listeners[0].key])
    errors = [problem.message for problem in report.problems if problem.severity is Severity.ERROR]
    return front, errors, [problem.message for problem in report.warnings]


@pytest.mark.parametrize(
    ("listen", "target", "front"),
    [
        (TCP, "tcp://db:3306", StreamForward),
        (TCP, "unix:///run/app.sock", StreamForward),
        (TCP, "ssl://db:443", StreamForward),
        ("unix:///tmp/np.sock", "tcp://db:3306", StreamForward),
        (TCP, "udp://statsd:8125", MessageForward),
        ("unix:///tmp/np.sock", "unixgram:///run/log.sock", MessageForward),
        (UDP, "udp://8.8.8.8:53", DatagramForward),
        (UDP, "tcp://game:27015", DatagramForward),
        ("unixgram:///tmp/np.sock", "ssl://log:6514", DatagramForward),
    ],
)
def test_each_pair_has_its_front(listen: str, target: str, front: type) -> None:
    made, errors, warnings = compiled(listen, {"forward_to": target})
    assert (type(made), errors, warnings) == (front, [], [])


@pytest.mark.parametrize(
    ("listen", "target", "rule", "timeout_s"),
    [
        (TCP, "tcp://db:1", {}, 300),
        (UDP, "udp://db:1", {}, 60),
        (TCP, "udp://db:1", {}, 60),
        (TCP, "tcp://db:1", {"timeout": "2m"}, 120),
    ],
)
def test_timeouts_have_defaults_by_pair(listen: str, target: str, rule: dict[str, Any], timeout_s: float) -> None:
    front, errors, _ = compiled(listen, {"forward_to": target, **rule})
    forward = front.routes[0].forward if isinstance(front, DatagramForward) else front.forward
    assert not errors
    assert forward.settings.timeout_s == timeout_s


def test_limits_of_rule_and_config() -> None:
    front, _, _ = compiled(TCP, {"forward_to": "tcp://db:1", "max_connections": 20})
    assert (front.forward.settings.max_connections, front.forward.settings.max_connections_key) == (
        20,
        "dispatch[0].max_connections",
    )
    front, _, _ = compiled(TCP, {"forward_to": "tcp://db:1"}, limits={"max_connections": 77})
    assert (front.forward.settings.max_connections, front.forward.settings.max_connections_key) == (
        77,
        "limits.max_connections",
    )


def test_a_balancer_of_its_own() -> None:
    pool = {"pool": {"targets": ["tcp://a:1", "tcp://b:1"], "balance": "random"}}
    front, errors, _ = compiled(TCP, {"forward_to": "upstream://pool", "balance": "least-conn"}, upstreams=pool)
    assert not errors
    assert front.forward.upstream.section.balance == "least-conn"


@pytest.mark.parametrize(
    ("listen", "rule", "message"),
    [
        (TCP, {"forward_to": "db:3306:1"}, "db:3306:1"),
        (TCP, {"forward_to": "http://db:80"}, "write tcp:// instead of http://"),
        (TCP, {"forward_to": "https://db:443"}, "write ssl:// instead of https://"),
        (TCP, {"forward_to": "upstream://poll"}, "did you mean 'pool'"),
        (TCP, {"forward_to": "upstream://mixed"}, "all be streams or all be datagrams"),
        (TCP, {"forward_to": "tcp://db:1", "allow": "offce"}, "unknown network 'offce', did you mean 'office'"),
        (TCP, {"forward_to": "udp://db:1", "mode": "stream", "framing": "line"}, 'needs "mode": "datagram"'),
        (TCP, {"forward_to": "tcp://db:1", "rate_limit": "5"}, 'expected a rate such as "10/s"'),
        (UDP, {"forward_to": "udp://db:1", "rate_limit": "ap"}, "unknown rate limit 'ap', did you mean 'app'"),
        (TCP, {"forward_to": "tcp://db:1", "rate_limit": "app"}, "a forward counts by $client_ip only, got '$host'"),
        (TCP, {"forward_to": "udp://db:1", "max_message_size": "1m"}, "no datagram is longer than 65507"),
        (UDP, {"forward_to": "udp://db:1", "send_proxy": "v1"}, '"send_proxy": "v2"'),
        (UDP, {"forward_to": "udp://db:1", "sni": "a.example"}, "shows no server name"),
        (TCP, {"forward_to": "tcp://db:1", "sni": "a.*.example"}, "expected a server name"),
        (TCP, {"forward_to": "tcp://db:1", "sni": [""]}, "expected a server name"),
        (TCP, {"forward_to": "tcp://db:1", "sni": "-ü.example"}, "not a valid internationalized domain name"),
        (TCP, {"forward_to": "ssl://db:1", "tls": {"server_name": "-ü.example"}}, "not a valid internationalized"),
    ],
)
def test_what_cannot_work_is_an_error(listen: str, rule: dict[str, Any], message: str) -> None:
    upstreams = {"pool": {"targets": ["tcp://a:1"]}, "mixed": {"targets": ["tcp://a:1", "udp://a:1"]}}
    _, errors, _ = compiled(
        listen,
        rule,
        upstreams=upstreams,
        networks={"office": ["10.0.0.0/8"]},
        rate_limits={"app": {"rate": "1/s", "key": "$host"}},
    )
    assert [error for error in errors if message in error], errors


@pytest.mark.parametrize(
    ("listen", "rule", "message"),
    [
        (TCP, {"forward_to": "tcp://db:1", "mode": "datagram"}, "no effect between two streams"),
        (TCP, {"forward_to": "tcp://db:1", "framing": "line"}, "no effect between two streams"),
        (UDP, {"forward_to": "udp://db:1", "mode": "stream"}, "no effect between datagram sockets"),
        (TCP, {"forward_to": "tcp://db:1", "rate_limit": "0"}, "a rate of '0' is no limit"),
        (TCP, {"forward_to": "tcp://db:1", "rate_limit": {"rate": "1/s", "methods": ["GET"]}}, "closes the connection"),
        (TCP, {"forward_to": "tcp://db:1", "rate_limit": {"rate": "1/s", "status": 503}}, "closes the connection"),
        (UDP, {"forward_to": "udp://db:1", "framing": "line"}, "no effect between datagram sockets"),
        (TCP, {"forward_to": "tcp://db:1", "sni_timeout": 2}, 'no effect: no rule has "sni"'),
        (UDP, {"forward_to": "udp://db:1", "sni_timeout": 2}, 'no effect: no rule has "sni"'),
        (TCP, {"forward_to": "tcp://db:1", "sni": "a", "sni_timeout": 2}, 'no effect: this rule has "sni"'),
        (TCP, {"forward_to": "tcp://db:1", "sni": "_"}, "for any, as in nginx, leave 'sni' out"),
        (TCP, {"forward_to": "tcp://db:1", "sni": ["a.b", ".c.d"]}, 'write ["c.d", "*.c.d"]'),
        (TCP, {"forward_to": "tcp://db:1", "sni": "a.b:443"}, "server names have no port, write 'a.b'"),
    ],
)
def test_what_has_no_effect_is_a_warning(listen: str, rule: dict[str, Any], message: str) -> None:
    front, errors, warnings = compiled(listen, rule)
    assert front is not None
    assert not errors
    assert [warning for warning in warnings if message in warning]


def test_rules_told_apart_share_a_listener_and_the_others_are_named() -> None:
    front, errors, warnings = compiled(
        TCP,
        {"forward_to": "tcp://a:1", "sni": "a.example"},
        {"forward_to": "tcp://b:1", "from": "10.0.0.0/8"},
        {"forward_to": "tcp://c:1"},
        {"forward_to": "tcp://d:1"},
    )
    assert isinstance(front, StreamRouter)
    assert [route.front.forward.upstream.name for route in front.routes] == ["tcp://a:1", "tcp://b:1", "tcp://c:1"]
    assert not errors
    assert [warning for warning in warnings if "never used" in warning]


def test_a_forward_cannot_hash_or_time_what_only_requests_have() -> None:
    pool = {"targets": ["tcp://db:1", "tcp://db:2"], "balance": "hash", "hash": "$header.x-user"}
    rule = {"forward_to": "upstream://pool"}
    _, errors, _ = compiled(TCP, rule, upstreams={"pool": pool})
    assert errors == ["a forward has no requests to hash: set 'balance' \"ip-hash\" in this rule"]
    _, errors, _ = compiled(TCP, {**rule, "balance": "least-time"}, upstreams={"pool": pool})
    assert errors == ["a forward has no responses to time: set 'balance' \"least-conn\" in this rule"]
    assert not compiled(TCP, {**rule, "balance": "ip-hash"}, upstreams={"pool": pool})[1]
