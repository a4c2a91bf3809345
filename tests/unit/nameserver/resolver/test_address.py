"""Addresses of resolvers as the config writes them, and what is said about wrong ones."""

from __future__ import annotations

import re
from typing import Any

import pytest

from npserver.nameserver.resolver.address import ResolverAddress, parse_resolver

QUAD9 = ResolverAddress("tls", "9.9.9.9", 853, "dns.quad9.net")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9.9.9.9", ResolverAddress("udp", "9.9.9.9", 53)),
        ("9.9.9.9:5353", ResolverAddress("udp", "9.9.9.9", 5353)),
        ("udp://1.1.1.1:53", ResolverAddress("udp", "1.1.1.1", 53)),
        ("2620:fe::fe", ResolverAddress("udp", "2620:fe::fe", 53)),
        ("[2620:FE::fe]:5353", ResolverAddress("udp", "2620:fe::fe", 5353)),
        ("udp://[2620:fe::fe]", ResolverAddress("udp", "2620:fe::fe", 53)),
        ("TCP://1.1.1.1", ResolverAddress("tcp", "1.1.1.1", 53)),
        ("tls://9.9.9.9#dns.quad9.net", QUAD9),
        ("tls://9.9.9.9:853#DNS.Quad9.net.", QUAD9),
        ("tls://dns.quad9.net#9.9.9.9", QUAD9),
        ("tls://1.1.1.1", ResolverAddress("tls", "1.1.1.1", 853, "1.1.1.1")),
        ("tls://[2620:fe::fe]:8853#dns.quad9.net", ResolverAddress("tls", "2620:fe::fe", 8853, "dns.quad9.net")),
        (
            "https://1.1.1.1/dns-query",
            ResolverAddress("https", "1.1.1.1", 443, "1.1.1.1", "1.1.1.1", "/dns-query"),
        ),
        ("https://1.1.1.1", ResolverAddress("https", "1.1.1.1", 443, "1.1.1.1", "1.1.1.1", "/dns-query")),
        (
            "https://dns.quad9.net:5053/q?a=b#9.9.9.9",
            ResolverAddress("https", "9.9.9.9", 5053, "dns.quad9.net", "dns.quad9.net:5053", "/q?a=b"),
        ),
        (
            "https://[2620:fe::fe]/dns-query",
            ResolverAddress("https", "2620:fe::fe", 443, "2620:fe::fe", "[2620:fe::fe]", "/dns-query"),
        ),
        (
            "https://9.9.9.9/dns-query#dns.quad9.net",
            ResolverAddress("https", "9.9.9.9", 443, "dns.quad9.net", "dns.quad9.net", "/dns-query"),
        ),
    ],
)
def test_an_address(text: str, address: ResolverAddress) -> None:
    assert parse_resolver(text) == [address]


def test_the_object_form_has_several_addresses_a_name_and_an_authority() -> None:
    found = parse_resolver("https://dns.quad9.net/dns-query", ["9.9.9.9", "2620:fe::9"], None, "ca.pem")
    assert [str(one) for one in found] == [
        "https://9.9.9.9:443#dns.quad9.net",
        "https://[2620:fe::9]:443#dns.quad9.net",
    ]
    assert {one.ca for one in found} == {"ca.pem"}
    (one,) = parse_resolver("https://doh.example/dns-query", ["10.0.0.1"], "other.example")
    assert (one.server_name, one.authority) == ("other.example", "doh.example")
    (one,) = parse_resolver("tls://10.0.0.1", (), "dns.example")
    assert one.server_name == "dns.example"


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ("dns.google", {}, "expected a resolver's IP address such as 9.9.9.9"),
        ("tcp://dns.google", {}, "expected a resolver's IP address such as tcp://9.9.9.9, got 'tcp://dns.google'"),
        ("", {}, "expected a resolver's IP address"),
        ("9.9.9.9:99999", {}, "expected a port from 1 to 65535"),
        ("9.9.9.9:\u0663", {}, "expected a port from 1 to 65535"),
        ("[2620:fe::fe]53", {}, "expected an address such as [2620:fe::fe]:53"),
        ("0.0.0.0", {}, "is no address of a single resolver"),
        ("udp://224.0.0.251:5353", {}, "is no address of a single resolver"),
        ("dot://9.9.9.9", {}, "unknown scheme 'dot' in 'dot://9.9.9.9'; did you mean 'tls://'?"),
        ("doh://9.9.9.9", {}, "did you mean 'https://'?"),
        ("http://9.9.9.9/dns-query", {}, "did you mean 'https://'?"),
        ("htps://9.9.9.9", {}, "did you mean 'https://'?"),
        ("quic://9.9.9.9", {}, "resolvers are not asked over 'quic': write tls://"),
        ("gopher://9.9.9.9", {}, "expected one of udp, tcp, tls, https"),
        ("tls://dns.quad9.net", {}, "add its IP address, as in 'tls://9.9.9.9#dns.quad9.net'"),
        (
            "https://dns.quad9.net/dns-query",
            {},
            "add its IP address, as in 'https://dns.quad9.net/dns-query#9.9.9.9'",
        ),
        ("tls://dns.quad9.net#dns.quad9.net", {}, "expected a resolver's IP address such as tls://9.9.9.9"),
        ("tls://9.9.9.9/path", {}, "tls addresses have no path"),
        ("tls://9.9.9.9#a b", {}, "'a b' in 'tls://9.9.9.9#a b' is not a valid host name"),
        ("https://1.1.1.1/a b", {}, "expected a path such as /dns-query, got '/a b'"),
        ("tls://9.9.9.9", {"addresses": ["1.1.1.1"]}, "'address' has no effect: 'tls://9.9.9.9' has an IP address"),
        (
            "udp://9.9.9.9",
            {"server_name": "a.example"},
            "'server_name' has no effect: 'udp://9.9.9.9' is not encrypted",
        ),
        ("9.9.9.9", {"ca": "ca.pem"}, "'ca' has no effect"),
        ("tcp://9.9.9.9", {"addresses": ["1.1.1.1"]}, "'address' has no effect"),
    ],
)
def test_a_wrong_address_is_refused_with_its_remedy(text: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_resolver(text, **more)
