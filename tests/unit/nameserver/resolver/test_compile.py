"""The section `dns_forward` compiled, and what is said about a wrong one, each with its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.nameserver.resolver.client import ResolverClient
from npserver.nameserver.udp import DnsOverUdp
from npserver.process.dry_run import dry_run
from npserver.runtime.scoreboard import Directory
from tests.unit.nameserver.test_compile import check, config

QUAD9 = {"resolvers": ["9.9.9.9"]}


def forward(**parts: Any) -> dict[str, Any]:
    return config(dns_forward={**QUAD9, **parts})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (config(dns_forward=[]), "expected the addresses of resolvers, got an empty list"),
        (config(dns_forward=["dns.google"]), "expected a resolver's IP address such as 9.9.9.9"),
        (forward(allow="nowhere"), "unknown network 'nowhere'"),
        (forward(timeout=0), "must be above 0"),
        (forward(timeout=3, total_timeout="2s"), "expected at least timeout (3 s), got 2 s"),
        (forward(local_zones=["example.com"]), "'example.com' is not a local name: it is forwarded without this"),
        (forward(local_zones=["a b"]), "expected a domain name, got 'a b'"),
        (forward(failure_ttl="500ms"), "expected 1 to 300 s (RFC 9520 §3.2), got 0.5 s"),
        (forward(failure_ttl="6m"), "expected 1 to 300 s (RFC 9520 §3.2), got 360 s"),
        (forward(min_ttl="2h", max_ttl="1h"), "expected at most max_ttl (3600 s), got 7200 s"),
        (forward(cache_size=0, stale="1h"), "'stale' has no effect: 'cache_size' is 0"),
        (forward(cache_size=0, prefetch=True), "'prefetch' has no effect: 'cache_size' is 0"),
        (forward(ecs="drop"), 'expected one of "strip", "pass"'),
        (forward(rebind_protection="on"), 'expected one of "public", "all", "off"'),
        (forward(rebind_protection="off", rebind_allow=["a.example"]), "'rebind_allow' has no effect"),
        (forward(rebind_allow=["*.a.example"]), "write 'a.example': names below a domain are included"),
        (forward(rebind_allow=["a.example", "A.example."]), "duplicate domain 'A.example.'"),
        (forward(rebind_allow=["."]), 'the root is all names: write "rebind_protection": "off"'),
        (forward(rebind_allow=["a b"]), "expected a domain name, got 'a b'"),
        (forward(resolvers=["9.9.9.9", "udp://9.9.9.9:53"]), "duplicate resolver 'udp://9.9.9.9:53'"),
        (forward(resolvers=["127.0.0.1:5300"]), "'udp://127.0.0.1:5300' is this server itself"),
        (forward(resolvers=["tcp://127.0.0.1:5300"]), "'tcp://127.0.0.1:5300' is this server itself"),
        (forward(resolvers=[{"uri": "tls://9.9.9.9", "ca": "gone.pem"}]), "cannot read 'gone.pem'"),
        (forward(resolvers=[{"uri": "tls://dns.quad9.net"}]), "add its IP address"),
        (forward(zones={"corp.example": []}), "expected the addresses of resolvers for 'corp.example', got an empty"),
        (forward(zones={"*.corp.example": ["10.0.0.2"]}), "write 'corp.example': names below a domain are included"),
        (forward(zones={"a b": ["10.0.0.2"]}), "expected a domain name, got 'a b'"),
        (forward(zones={".": ["10.0.0.2"]}), "the root is all names: write their resolvers into 'resolvers'"),
        (forward(zones={"corp.example": ["10.0.0.2"], "Corp.Example.": ["10.0.0.3"]}), "is there twice"),
        (forward(zones={"corp.example": ["corp"]}), "expected a resolver's IP address"),
        (forward(zones={"x.a.lan": ["10.0.0.2"]}), "warning: 'zones' has no effect for 'x.a.lan': it is in a zone"),
    ],
)
def test_what_is_wrong_is_said_at_its_place(parts: dict[str, Any], message: str) -> None:
    (found,) = check(json.dumps(parts, indent=1))
    assert message in found
    assert found.startswith("file:")


def test_a_wildcard_listener_is_this_server_at_each_address() -> None:
    parts = forward(resolvers=["127.0.0.1:5300"])
    parts["listen"] = [{"name": name, "uri": f"{kind}://:5300"} for name, kind in (("u", "udp"), ("t", "tcp"))]
    parts["dispatch"][0]["public"] = True
    assert any("is this server itself" in one for one in check(parts))
    parts["dns_forward"] = ["127.0.0.1:5301"]
    assert check(parts) == []


def test_a_listener_that_answers_no_dns_is_not_this_server() -> None:
    parts = forward(resolvers=["127.0.0.1:5302"])
    parts["listen"] = [*parts["listen"], {"name": "other", "uri": "udp://127.0.0.1:5302"}]
    parts["dispatch"].append({"listener": "other", "handler": "forward", "forward_to": "udp://10.0.0.9:53"})
    assert check(parts) == []


def client_of(parts: dict[str, Any]) -> ResolverClient:
    runtime = dry_run(load_text(json.dumps(parts), "file"), Directory())
    front = next(iter(runtime.fronts.values()))
    assert isinstance(front, DnsOverUdp)
    client = front._server.resolver_client
    assert client is not None
    return client


def addresses(client: ResolverClient, name: bytes) -> list[str]:
    group = client.group_of(name)
    return [] if group is None else [str(one.address) for one in group.resolvers]


def test_the_longest_domain_counts() -> None:
    zones = {
        "Corp.example.": ["10.0.0.2", "tcp://10.0.0.3"],
        "lab.corp.example": ["10.0.0.4"],
        "168.192.in-addr.arpa": ["192.168.1.1"],
    }
    client = client_of(forward(zones=zones))
    for name, expected in (
        (b"\4corp\7example\0", ["udp://10.0.0.2:53", "tcp://10.0.0.3:53"]),
        (b"\1a\4corp\7example\0", ["udp://10.0.0.2:53", "tcp://10.0.0.3:53"]),
        (b"\1a\3lab\4corp\7example\0", ["udp://10.0.0.4:53"]),
        (b"\5acorp\7example\0", ["udp://9.9.9.9:53"]),
        (b"\7example\0", ["udp://9.9.9.9:53"]),
        (b"\0", ["udp://9.9.9.9:53"]),
        (b"\0011\0011\003168\003192\7in-addr\4arpa\0", ["udp://192.168.1.1:53"]),
    ):
        assert addresses(client, name) == expected


def test_domains_alone_leave_all_other_names() -> None:
    client = client_of(config(dns_forward={"resolvers": [], "zones": {"corp.example": ["10.0.0.2"]}}))
    assert addresses(client, b"\7example\0") == []
    assert client.default is None


def test_equal_groups_share_their_answers_and_others_do_not() -> None:
    one, same, other, bounded = (
        client_of(parts).default
        for parts in (
            forward(),
            config(dns_forward=["udp://9.9.9.9:53"]),
            config(dns_forward=["9.9.9.9", "1.1.1.1"]),
            forward(min_ttl=5),
        )
    )
    assert one and same and other and bounded
    assert one.identity == same.identity
    assert len({one.identity, other.identity, bounded.identity}) == 3


@pytest.mark.parametrize(
    ("protection", "guarded"),
    [("public", ["udp://9.9.9.9:53"]), ("all", ["udp://192.168.1.1:53", "udp://9.9.9.9:53"]), ("off", [])],
)
def test_which_resolvers_are_guarded(protection: str, guarded: list[str]) -> None:
    parts = forward(
        resolvers=["192.168.1.1", "9.9.9.9"], zones={"corp.example": ["9.9.9.9"]}, rebind_protection=protection
    )
    client = client_of(parts)
    assert client.default is not None
    assert sorted(str(one.address) for one in client.default.guarded) == guarded
    assert client.zones[b"\4corp\7example\0"].guarded == frozenset()


def test_whose_ad_flag_is_believed() -> None:
    """Nobody on the way can have set it, or the config says so."""
    resolvers = ["9.9.9.9", "tcp://192.168.1.1", "127.0.0.1:5301", "[::1]:5301", "tls://9.9.9.9", "https://1.1.1.1",
                 {"uri": "192.168.1.1", "trust_ad": True}, {"uri": "tls://1.1.1.1", "trust_ad": False}]  # fmt: skip
    default = client_of(forward(resolvers=resolvers)).default
    assert default is not None
    assert sorted(str(one.address) for one in default.trusted) == [
        "https://1.1.1.1:443", "tls://9.9.9.9:853", "udp://127.0.0.1:5301", "udp://192.168.1.1:53", "udp://[::1]:5301",
    ]  # fmt: skip


def test_domains_that_may_have_private_addresses() -> None:
    client = client_of(forward(rebind_allow=["Home.example."], local_zones=["corp.local"]))
    assert client._unguarded == {b"\4home\7example\0", b"\4corp\5local\0"}


def test_answers_are_kept_apart_by_what_is_guarded_and_trusted() -> None:
    """A reload that protects names, allows one or trusts a resolver must not go on with the answers from before."""
    found = [
        client_of(forward(**parts)).default
        for parts in (
            {},
            {"resolvers": [{"uri": "9.9.9.9", "trust_ad": True}]},
            {"rebind_protection": "off"},
            {"rebind_allow": ["home.example"]},
        )
    ]
    assert len({one.identity for one in found if one is not None}) == 4


def test_resolvers_over_tls_trust_the_named_authority(certificates: Callable[..., Any]) -> None:
    ca = str(certificates().ca)
    uri = {"uri": "https://dns.example/dns-query", "address": ["10.0.0.1", "10.0.0.2"], "ca": ca}
    client = client_of(forward(resolvers=[uri, "tls://9.9.9.9#dns.quad9.net"]))
    assert client.default is not None
    assert len(client.default.resolvers) == 3
    contexts = [one.channel._tls for one in client.default.resolvers]
    assert all(one is not None for one in contexts)
    assert [one.address.server_name for one in client.default.resolvers] == ["dns.example"] * 2 + ["dns.quad9.net"]
