"""DNS rules and records compiled, and the messages about what is wrong with them, each with its place.

Covers `nameserver.views`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.dns.message.name import to_text
from npserver.errors import ConfigError
from npserver.nameserver.stream import DnsOverStream
from npserver.nameserver.udp import DnsOverUdp
from npserver.process.dry_run import dry_run
from npserver.runtime.scoreboard import Directory

Check = Callable[..., list[str]]
LISTEN = [{"name": "u", "uri": "udp://127.0.0.1:5300"}, {"name": "t", "uri": "tcp://127.0.0.1:5300"}]
RULE = {"listener": ["u", "t"], "handler": "dns"}


@pytest.fixture(autouse=True)
def no_loop_left() -> Iterator[None]:
    yield
    asyncio.set_event_loop(None)


def config(rule: dict[str, Any] | None = None, **parts: Any) -> dict[str, Any]:
    return {"listen": LISTEN, "dns": {"a.lan": {"A": "10.0.0.1"}}, "dispatch": [{**RULE, **(rule or {})}], **parts}


def check(parts: dict[str, Any] | str) -> list[str]:
    """Everything the config's compilation says, errors and warnings."""
    try:
        runtime = dry_run(load_text(parts if isinstance(parts, str) else json.dumps(parts), "file"), Directory())
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return [str(problem) for problem in runtime.warnings]


UPSTREAM = {"pool": {"targets": ["http://10.0.0.1:80"]}}
WRONG = [
    (config(dns={"a.lan": {"A": "10.0.0.256"}}), "expected an IPv4 address, got '10.0.0.256'"),
    (
        config(dns={"a.lan": {"A": "upstream://pol"}}, upstreams=UPSTREAM),
        "unknown upstream 'pol'; did you mean 'pool'?",
    ),
    (config(dns_zones=["a b"]), "expected a domain name, got 'a b'"),
    (config(dns_zones=["lan", "LAN."]), "'LAN.' is given twice"),
    (config(dns_views=[{"from": [], "dns": {}}]), "a view needs the networks it is for"),
    (config(dns_views=[{"from": "hoem", "dns": {}}], networks={"home": ["10.0.0.0/8"]}), "did you mean 'home'?"),
    (config(dns_views=[{"from": "10.0.0.0/8", "dns": {"x": {"AAAA": "1"}}}]), "expected an IPv6 address"),
    (config({"allow_transfer": "nowhere"}), "unknown network 'nowhere'"),
    (config({"allow": "10.0.0.1/8"}), "did you mean 10.0.0.0/8?"),
    (
        config(dns={"a.lan": {"TXT": ["ok", '"v=spf1 -all"']}}),
        'warning: TXT: the quotes are part of the text; without them it is "v=spf1 -all"',
    ),
    (
        config(dns_views=[{"from": "10.0.0.0/8", "dns": {"a.lan": {"TXT": {"text": ['"a"']}}}}]),
        "warning: TXT: the quotes are part of the text",
    ),
    (
        config(dns={"a.lan": {"CAA": {"tag": "issue", "value": '"ca.example"'}}}),
        'warning: CAA: the quotes are part of the text; without them it is "ca.example"',
    ),
    (
        config(dns={}),
        'handler "dns" has nothing to answer: give it records in "dns", the name of a zone in "dns_zones", or',
    ),
]


@pytest.mark.parametrize(("parts", "message"), WRONG, ids=[case[1] for case in WRONG])
def test_each_mistake_has_its_message(parts: dict[str, Any], message: str) -> None:
    said = check(parts)
    assert any(message in one for one in said), said


def test_every_mistake_has_its_place() -> None:
    text = """{
  "listen": ["udp://127.0.0.1:5300"],
  "dispatch": [{"handler": "dns"}],
  "dns": {
    "a.lan": {"A": ["10.0.0.1",
                    "10.0.0.x"]},
    "b.lan": {"CNAME": "a.lan", "MX": "5 a.lan"},
    "c.lan": {"SRV": {"port": 1, "target": "1.2.3.4"}, "TXTT": "x"}
  },
  "dns_views": [
    {"from": "10.0.0.0/8", "dns": {"a.lan": {"TTL": -5, "A": "10.0.0.1"}}}
  ]
}"""
    assert check(text) == [
        "file:6:21: A: expected an IPv4 address, got '10.0.0.x'",
        "file:7:24: a name with a CNAME can have no other records, but has MX (RFC 1034 §3.6.2)",
        "file:8:22: SRV: expected a host name, got the address '1.2.3.4'",
        "file:8:64: unknown record type 'TXTT', did you mean TXT?",
        'file:11:53: expected a TTL from 0 to 2147483647 seconds or such as "5m", got -5',
    ]


def test_mistakes_are_said_once_for_all_listeners() -> None:
    assert len(check(config(dns={"a.lan": {"A": "x"}}))) == 1


@pytest.mark.parametrize("uri", ["udp://:5300", "tcp://0.0.0.0:5300", "udp://[::]:5300"])
def test_a_wildcard_address_needs_public(uri: str) -> None:
    parts = config({"listener": "w"}, listen=[{"name": "w", "uri": uri}])
    assert any('"public": true' in one for one in check(parts))
    parts["dispatch"][0]["public"] = True
    assert check(parts) == []


def test_the_fronts_share_one_name_server() -> None:
    runtime = dry_run(load_text(json.dumps(config()), "file"), Directory())
    udp, tcp = runtime.fronts.values()
    assert isinstance(udp, DnsOverUdp)
    assert isinstance(tcp, DnsOverStream)
    assert udp._server is tcp.server


def test_addresses_come_from_upstreams() -> None:
    targets = ["http://10.0.0.1:80", "http://10.0.0.2:80", "http://10.0.0.2:81", "http://[fd00::1]:80"]
    parts = config(
        dns={"a.lan": {"A": "upstream://pool", "AAAA": "upstream://pool", "TTL": 60}},
        upstreams={"pool": {"targets": targets}},
    )
    runtime = dry_run(load_text(json.dumps(parts), "file"), Directory())
    front = next(iter(runtime.fronts.values()))
    assert isinstance(front, DnsOverUdp)
    (node,) = [node for node in front._server.views[0][1].tables.nodes.values() if to_text(node.key) == "a.lan."]
    assert node.sets[1] == (5, (bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))))
    assert node.sets[28][1][0].hex().startswith("fd00")


@pytest.mark.parametrize(("rate", "count", "window_s"), [(7, 7, 1.0), ("7/s", 7, 1.0), ("100/m", 100, 60.0)])
def test_the_limit_of_answers_is_a_number_or_a_rate(rate: int | str, count: int, window_s: float) -> None:
    parts = config({"listener": "u", "public": True, "rate_limit": rate}, listen=[{"name": "u", "uri": "udp://:5300"}])
    (udp,) = dry_run(load_text(json.dumps(parts), "file"), Directory()).fronts.values()
    assert isinstance(udp, DnsOverUdp)
    assert udp.policy.only is not None
    assert repr(udp.policy.only.limiter) == f"<RateLimiter {count} in {window_s:g} s>"


@pytest.mark.parametrize(
    ("rate", "message"), [("fast", "expected a rate such as"), ("0", "needs a limit above 0"), (0, "expected")]
)
def test_a_faulty_limit_of_answers_is_told(rate: int | str, message: str) -> None:
    parts = config({"listener": "u", "public": True, "rate_limit": rate}, listen=[{"name": "u", "uri": "udp://:5300"}])
    (found,) = check(parts)
    assert message in found
