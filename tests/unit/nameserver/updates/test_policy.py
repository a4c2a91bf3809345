"""Which records a key may change."""

from __future__ import annotations

import pytest

from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner
from npserver.nameserver.updates.policy import Policy, may_change, parse_names, parse_types

APEX = parse_owner("example.com")
DHCP = parse_owner("dhcp")


def policy(names: list[str], types: list[str]) -> Policy:
    return Policy(frozenset([DHCP]), parse_names(names, APEX), parse_types(types))


@pytest.mark.parametrize(
    ("names", "name", "allowed"),
    [
        ([], "example.com", True),
        ([], "a.b.example.com", True),
        (["*.dyn.example.com"], "a.dyn.example.com", True),
        (["*.dyn.example.com"], "a.b.dyn.example.com", True),
        (["*.dyn.example.com"], "*.dyn.example.com", True),
        (["*.dyn.example.com"], "dyn.example.com", False),
        (["*.dyn.example.com"], "xdyn.example.com", False),
        (["NAS.example.com"], "nas.example.com", True),
        (["nas.example.com"], "x.nas.example.com", False),
        (["self"], "dhcp", True),
        (["self"], "nas.example.com", False),
    ],
)
def test_names(names: list[str], name: str, allowed: bool) -> None:
    assert policy(names, []).allows(DHCP, parse_owner(name), codes.A) is allowed


@pytest.mark.parametrize(
    ("types", "rtype", "allowed"),
    [
        ([], codes.A, True),
        ([], 49, True),  # DHCID
        ([], codes.NS, False),
        ([], codes.SOA, False),
        (["A", "TXT"], codes.TXT, True),
        (["A", "TXT"], codes.AAAA, False),
        (["NS"], codes.NS, True),
        (["any"], codes.NS, True),
        (["TYPE49"], 49, True),
        (["DHCID"], 49, True),
        (["CDS"], codes.CDS, True),
    ],
)
def test_types(types: list[str], rtype: int, allowed: bool) -> None:
    assert policy([], types).allows(DHCP, APEX, rtype) is allowed


def test_other_keys() -> None:
    other = parse_owner("other")
    assert not may_change([policy([], [])], other, APEX, codes.A)
    assert may_change([Policy(frozenset([other]), parse_names([], APEX), None), policy([], [])], other, APEX, codes.A)
    assert not may_change([], DHCP, APEX, codes.A)


@pytest.mark.parametrize("name", ["example.net", "com", "a b.example.com"])
def test_names_outside_the_zone(name: str) -> None:
    with pytest.raises(ValueError, match=r"not in the zone|expected a domain name"):
        parse_names([name], APEX)


def test_an_unknown_type() -> None:
    with pytest.raises(ValueError, match="unknown record type 'B'"):
        parse_types(["B"])
