"""Which addresses the clients of a view are told: those of the listeners that they can reach.

Covers `nameserver.publish.plan`.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from npserver.dns.message.name import parse_owner
from npserver.nameserver.publish.choice import addresses_for
from npserver.nameserver.publish.plan import Plan, PublishedName, View, within
from npserver.tls.local_names import LOOPBACKS, PRIVATE_NETWORKS

#: The machine, on two networks of its own and the internet.
PRIVATE = ["192.168.1.7", "10.0.0.7", "fd00::7"]
PUBLIC = ["203.0.113.7", "2001:db8::7"]


def view(*networks: str, **more: bool) -> View:
    nets = tuple(map(ip_network, networks))
    return View(nets, **{"is_private": all(within(one, (*PRIVATE_NETWORKS, *LOOPBACKS)) for one in nets), **more})


OFFICE = view("10.0.0.0/8")
HOME = view("192.168.1.0/24", "fd00::/8")
FAR = view("172.16.0.0/12")
HERE = view("127.0.0.2/32", is_loopback=True)
HERE_BOTH = view("127.0.0.0/8", "::1/128", is_loopback=True)
OTHERS = View()
NEAR_OTHERS = View((ip_network("192.168.1.1/32"),), is_private=True)
UNKNOWN_PRIVATE = View((), is_private=True)


def choose(hosts: list[str], of: View, *, is_local: bool = False, public: list[str] = PUBLIC) -> list[str]:
    name = PublishedName(parse_owner("photos.example.com"), "photos.example.com", tuple(hosts), is_local=is_local)
    return [str(ip) for ip in addresses_for(name, of, [*map(ip_address, public)], [*map(ip_address, PRIVATE)])]


@pytest.mark.parametrize(
    ("hosts", "of", "expected"),
    [
        # on all addresses
        ([""], OFFICE, ["10.0.0.7"]),
        ([""], HOME, ["192.168.1.7", "fd00::7"]),
        ([""], OTHERS, PUBLIC),
        ([""], HERE, ["127.0.0.1"]),
        ([""], HERE_BOTH, ["127.0.0.1", "::1"]),
        (["0.0.0.0"], HOME, ["192.168.1.7"]),
        (["0.0.0.0"], OTHERS, PUBLIC[:1]),
        (["::"], HOME, ["fd00::7"]),
        (["::"], OTHERS, PUBLIC[1:]),
        (["0.0.0.0"], HERE_BOTH, ["127.0.0.1"]),
        # on one private address
        (["192.168.1.7"], HOME, ["192.168.1.7"]),
        (["192.168.1.7"], OFFICE, ["192.168.1.7"]),
        (["192.168.1.7"], OTHERS, PUBLIC[:1]),
        (["fd00::7"], OTHERS, PUBLIC[1:]),
        (["192.168.1.7"], HERE, ["192.168.1.7"]),
        (["10.0.0.7", "192.168.1.7"], OFFICE, ["10.0.0.7"]),
        (["10.0.0.7", "192.168.1.7"], HOME, ["192.168.1.7"]),
        # on one public address
        (["198.51.100.9"], OTHERS, ["198.51.100.9"]),
        (["198.51.100.9"], OFFICE, ["198.51.100.9"]),
        (["198.51.100.9", "198.51.100.10"], OTHERS, ["198.51.100.9", "198.51.100.10"]),
        (["198.51.100.9", "192.168.1.7"], OFFICE, ["192.168.1.7"]),
        (["198.51.100.9", "192.168.1.7"], OTHERS, ["198.51.100.9", "203.0.113.7"]),
        # on this machine alone
        (["127.0.0.1"], HERE, ["127.0.0.1"]),
        (["127.0.0.1"], OFFICE, []),
        (["127.0.0.1"], OTHERS, []),
        (["::1"], HERE, []),  # clients of IPv4 alone
        # no network of the view is the machine's: the nearest is 192.168.1.7 or 10.0.0.7, by the bits in common
        ([""], FAR, ["192.168.1.7"]),
        ([""], view("11.0.0.0/8", is_private=True), ["10.0.0.7"]),
        # those who ask at a private address, and those of whom nothing is known but that they are near
        ([""], NEAR_OTHERS, ["192.168.1.7"]),
        ([""], UNKNOWN_PRIVATE, ["192.168.1.7", "fd00::7"]),
    ],
)
def test_each_view_is_told_what_it_can_reach(hosts: list[str], of: View, expected: list[str]) -> None:
    assert choose(hosts, of) == expected


def test_a_local_name_is_for_the_private_network_in_every_view() -> None:
    assert choose([""], OTHERS, is_local=True) == ["192.168.1.7", "fd00::7"]
    assert choose(["192.168.1.7"], OTHERS, is_local=True) == ["192.168.1.7"]
    assert choose(["198.51.100.9"], OTHERS, is_local=True) == ["198.51.100.9"]


def test_without_a_private_address_a_private_view_is_told_the_public_one() -> None:
    name = PublishedName(parse_owner("a.example.com"), "a.example.com", ("",))
    assert [*map(str, addresses_for(name, OFFICE, [ip_address("203.0.113.7")], []))] == ["203.0.113.7"]


def test_a_local_name_never_has_the_public_address() -> None:
    name = PublishedName(parse_owner("nas.home"), "nas.home", ("",), is_local=True)
    for of in (OFFICE, OTHERS, UNKNOWN_PRIVATE):
        assert addresses_for(name, of, [ip_address("9.9.9.9")], []) == []


def test_without_a_public_address_others_are_told_none() -> None:
    assert choose([""], OTHERS, public=[]) == []
    assert choose(["192.168.1.7"], OTHERS, public=[]) == []


def test_of_equally_near_addresses_the_likeliest_counts() -> None:
    """Such as that of the network card before that of a bridge for containers."""
    name = PublishedName(parse_owner("a.example.com"), "a.example.com", ("",))
    private = [ip_address("10.0.0.7"), ip_address("10.88.0.1")]
    assert [*map(str, addresses_for(name, OFFICE, [], private))] == ["10.0.0.7"]
    assert [*map(str, addresses_for(name, view("10.88.0.0/16"), [], private))] == ["10.88.0.1"]


def test_addresses_of_the_machine_are_needed_for_listeners_on_all_of_them() -> None:
    def plan(*hosts: str) -> Plan:
        return Plan((PublishedName(b"\x01a\0", "a", hosts),), (OTHERS,), 300)

    assert plan("192.0.2.1", "").needs_machine_addresses()
    assert not plan("192.0.2.1", "::1").needs_machine_addresses()
