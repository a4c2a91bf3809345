"""Reverse names of addresses."""

from __future__ import annotations

from ipaddress import ip_address

import dns.reversename
import pytest

from npserver.dns.message.name import labels
from npserver.dns.zone.reverse import is_local, reverse_key, reversed_address


@pytest.mark.parametrize("address", ["192.0.2.1", "10.255.0.7", "2001:db8::1", "fd00::abcd:1"])
def test_reverse_names_equal_those_of_dnspython(address: str) -> None:
    packed = ip_address(address).packed
    key = reverse_key(packed)
    assert key == dns.reversename.from_address(address).to_wire()
    assert reversed_address(labels(key)) == (packed, len(labels(key)))


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("in-addr.arpa", "0.0.0.0"),
        ("168.192.in-addr.arpa", "192.168.0.0"),
        ("0/25.1.168.192.in-addr.arpa", "192.168.1.0"),
        ("1.0/25.1.168.192.in-addr.arpa", "192.168.1.0"),
        ("_tcp.192.in-addr.arpa", "192.0.0.0"),
        ("x.1.2.3.4.in-addr.arpa", "4.3.2.1"),
        ("256.10.in-addr.arpa", "10.0.0.0"),
        ("d.f.ip6.arpa", "fd00::"),
        ("dd.d.f.ip6.arpa", "fd00::"),
        ("in-addr.example", None),
        ("arpa", None),
    ],
)
def test_the_network_of_a_reverse_name(name: str, network: str | None) -> None:
    found = reversed_address(name.encode().split(b"."))
    assert (found and ip_address(found[0])) == (network and ip_address(network))


@pytest.mark.parametrize(
    ("address", "local"),
    [("10.0.0.1", True), ("192.168.1.1", True), ("fd00::1", True), ("8.8.8.8", False), ("2600::1", False)],
)
def test_private_networks_are_local(address: str, local: bool) -> None:
    assert is_local(ip_address(address).packed) is local
