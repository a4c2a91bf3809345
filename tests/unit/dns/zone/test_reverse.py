"""Reverse names of addresses."""

from __future__ import annotations

from ipaddress import ip_address

import dns.reversename
import pytest

from npserver.dns.zone.reverse import is_local, reverse_key


@pytest.mark.parametrize("address", ["192.0.2.1", "10.255.0.7", "2001:db8::1", "fd00::abcd:1"])
def test_reverse_names_equal_those_of_dnspython(address: str) -> None:
    assert reverse_key(ip_address(address).packed) == dns.reversename.from_address(address).to_wire()


@pytest.mark.parametrize(
    ("address", "local"),
    [("10.0.0.1", True), ("192.168.1.1", True), ("fd00::1", True), ("8.8.8.8", False), ("2600::1", False)],
)
def test_private_networks_are_local(address: str, local: bool) -> None:
    assert is_local(ip_address(address).packed) is local
