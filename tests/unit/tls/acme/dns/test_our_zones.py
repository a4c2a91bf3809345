"""What the records of a config say about a name: which zone holds it, where its CNAME leads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.tls.acme.dns.our_zones import OurZones, zones_of

RECORDS = {
    "example.com": {"A": "192.0.2.1", "NS": "ns.example.com"},
    "*.example.com": {"CNAME": "example.com"},
    "sub.example.com": {"ns": "ns.elsewhere.net"},
    "child.example.com": {"SOA": "a. b. 1 2 3 4 5", "NS": "ns.example.com"},
    "a.example.com": {"CNAME": "B.example.com."},
    "b.example.com": {"cname": {"host": "c.example.org"}},
    "out.example.com": {"CNAME": ["elsewhere.net"]},
    "loop1.example.com": {"CNAME": "loop2.example.com"},
    "loop2.example.com": {"CNAME": "loop1.example.com"},
    "tosub.example.com": {"CNAME": "x.sub.example.com"},
    "c.example.org": {"TXT": "c"},
    "wrong..name": {"A": "1"},
    "wrong.example.com": {"CNAME": 5},
    **{f"n{number}.example.com": {"CNAME": f"n{number + 1}.example.com"} for number in range(40)},
}


def zones(**config: Any) -> OurZones:
    rules = {"listen": ["udp://127.0.0.1:53"], "dispatch": [{"handler": "dns"}]}
    return zones_of(load_text(json.dumps({**rules, "dns": RECORDS, **config}), "npserver.json").config)


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        ("example.com", True),
        ("_acme-challenge.WWW.example.com", True),
        ("_acme-challenge.sub.example.com", False),
        ("sub.example.com", False),
        ("x.child.example.com", True),
        ("x.example.org", True),
        ("x.named.test", True),
        ("elsewhere.net", False),
        ("notexample.com", False),
        ("com", False),
        (f"{'a' * 60}." * 4 + "example.com", False),  # longer than names may be
    ],
)
def test_which_names_our_servers_answer_for(name: str, is_ours: bool) -> None:
    assert zones(dns_zones=["named.test"]).hold(name) is is_ours


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("x.example.com", ["x.example.com"]),
        ("A.example.com", ["c.example.org"]),
        ("out.example.com", ["elsewhere.net"]),
        ("tosub.example.com", ["x.sub.example.com"]),
        ("loop1.example.com", []),
        ("n0.example.com", []),  # too many
        ("n39.example.com", ["n40.example.com"]),
        ("wrong.example.com", ["wrong.example.com"]),
        ("not a name", []),
    ],
)
def test_cnames_are_followed_to_their_end(name: str, ends: list[str]) -> None:
    assert zones().ends(name) == ends


def test_views_may_differ() -> None:
    view = {"from": "10.0.0.0/8", "dns": {"a.example.com": {"CNAME": "d.example.com"}}}
    assert zones(dns_views=[view]).ends("a.example.com") == ["d.example.com", "c.example.org"]


def test_without_a_rule_that_serves_them_there_are_none() -> None:
    rule = {"handler": "respond", "body": "hello"}
    assert zones(listen=["http://127.0.0.1:80"], dispatch=[rule]) == OurZones()


def test_they_are_named_for_messages() -> None:
    assert str(zones()) == "child.example.com, example.com, example.org"
    assert str(zones(dns_zones=["a.test", "b.test", "c.test", "d.test"])).endswith(
        "c.test, child.example.com, d.test and 2 more"
    )
