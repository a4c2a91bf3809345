"""Local names, answered without the resolvers (RFC 6303, RFC 6761)."""

from __future__ import annotations

from typing import Any

import dns.message
import dns.rcode
import dns.reversename
import pytest

from npserver.dns.message.name import parse_owner
from npserver.nameserver.query_processor import QueryProcessor, Recursion
from npserver.nameserver.resolver.local_names import LOCAL_ZONES, LocalNames, parse_local_zone
from npserver.nameserver.udp_query_processor import UdpQueryProcessor
from tests.stage.nameserver import processor_of, tables_of

ZONE = tables_of({"nas.home": {"A": "192.168.1.10"}, "10.1.168.192.in-addr.arpa": {"PTR": "nas.home"}})


def respond(
    name: str, kind: str = "A", *, forwarded: tuple[str, ...] = (), stream: bool = False, **options: Any
) -> Any:
    """Return the parsed reply, or what else the processor of a client that may recurse returns."""
    local_names = LocalNames(frozenset(map(parse_local_zone, forwarded)), {})
    processor: QueryProcessor = processor_of(ZONE, stream=stream, may_recurse=True, local_names=local_names)
    reply = processor.respond(dns.message.make_query(name, kind, **options).to_wire(), "192.168.1.77", 0.0, 0.0)
    return dns.message.from_wire(reply) if isinstance(reply, bytes) else reply


def reverse(*addresses: str) -> list[str]:
    return [dns.reversename.from_address(address).to_text() for address in addresses]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "app.localhost", "a.b.localhost"])
def test_localhost_has_the_loopback_addresses(name: str, stream: bool) -> None:  # RFC 6761 §6.3
    assert [str(one) for one in respond(name, stream=stream).answer[0]] == ["127.0.0.1"]
    assert [str(one) for one in respond(name, "AAAA", stream=stream).answer[0]] == ["::1"]
    empty = respond(name, "MX", stream=stream)
    assert (empty.rcode(), empty.answer) == (0, [])


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_loopback_addresses_have_a_name(address: str) -> None:
    assert str(respond(*reverse(address), "PTR").answer[0][0]) == "localhost."


@pytest.mark.parametrize(
    "name",
    [
        *("printer.local", "x.test", "x.invalid", "x.onion", "x.alt", "x.home.arpa"),
        *reverse("10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.7.7", "169.254.1.1", "100.64.0.1", "100.127.1.1"),
        *reverse("0.1.2.3", "127.0.0.2", "192.0.2.1", "198.51.100.1", "203.0.113.1"),
        *reverse("fd12::1", "fe80::1", "febf::1", "2001:db8::1"),
    ],
)
def test_other_local_names_do_not_exist(name: str) -> None:
    reply = respond(name, "PTR")
    assert reply.rcode() == dns.rcode.NXDOMAIN
    soa = reply.authority[0][0]
    assert (str(soa.rname), soa.minimum) == ("nobody.invalid.", 10_800)  # RFC 6303 §3


@pytest.mark.parametrize(
    "name",
    [
        *("www.example.com", "local.example.com", "ip-10-0-0-1.ec2.internal", "arpa", "."),
        *reverse("8.8.8.8", "172.32.0.1", "172.15.0.1", "100.63.0.1", "100.128.0.1", "192.169.0.1", "2600::1"),
    ],
)
def test_names_of_others_go_to_the_resolvers(name: str) -> None:
    assert isinstance(respond(name, "PTR"), Recursion)


def test_the_zones_of_the_config_come_first() -> None:
    assert str(respond("10.1.168.192.in-addr.arpa", "PTR").answer[0][0]) == "nas.home."


def test_local_names_that_the_resolvers_know_are_forwarded() -> None:
    forwarded = ("168.192.in-addr.arpa", "Corp.local.")
    assert respond("1.1.168.192.in-addr.arpa", "PTR", forwarded=forwarded).rcode() == dns.rcode.NXDOMAIN  # our own zone
    assert isinstance(respond("1.2.168.192.in-addr.arpa", "PTR", forwarded=forwarded), Recursion)
    assert isinstance(respond("dc.corp.local", forwarded=forwarded), Recursion)
    assert isinstance(respond("corp.local", forwarded=forwarded), Recursion)
    assert respond("other.local", forwarded=forwarded).rcode() == dns.rcode.NXDOMAIN
    assert respond("1.2.16.172.in-addr.arpa", "PTR", forwarded=forwarded).rcode() == dns.rcode.NXDOMAIN


def test_clients_that_may_not_recurse_are_refused() -> None:
    processor = processor_of(ZONE)
    assert isinstance(processor, UdpQueryProcessor)
    reply = processor.respond(dns.message.make_query("localhost", "A").to_wire(), "8.8.8.8", 0.0, 0.0)
    assert isinstance(reply, bytes)
    assert dns.message.from_wire(reply).rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize("name", ["example.com", "192.in-addr.arpa", "a b.local"])
def test_only_local_names_can_be_excepted(name: str) -> None:
    with pytest.raises(ValueError, match=r"is not a local name|expected a domain name"):
        parse_local_zone(name)


def test_every_local_zone_is_a_name() -> None:
    assert len({parse_owner(name) for name in LOCAL_ZONES}) == len(LOCAL_ZONES) > 100
