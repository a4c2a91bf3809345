"""Which zones the records make."""

from __future__ import annotations

import pytest

from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner, to_text
from npserver.dns.zone.apexes import choose_apexes

SOME = (300, (b"",))


def apexes(
    *names: str,
    named: tuple[str, ...] = (),
    soa: tuple[str, ...] = (),
    ns: tuple[str, ...] = (),
    narrow: tuple[str, ...] = (),
) -> list[str]:
    sets = {parse_owner(name): {codes.A: SOME} for name in names}
    sets |= {parse_owner(name): {codes.SOA: SOME} for name in soa}
    sets |= {parse_owner(name): {codes.NS: SOME} for name in ns}
    sets |= {parse_owner(name): {codes.PTR: SOME} for name in narrow}
    found = choose_apexes(map(parse_owner, named), sets, map(parse_owner, narrow))
    return sorted(map(to_text, found))


@pytest.mark.parametrize(
    ("name", "apex"),
    [
        ("redis.local", "local."),
        ("a.b.c.internal", "internal."),
        ("host", "host."),
        ("api.company.com", "company.com."),
        ("a.b.company.de", "company.de."),
        ("*.local", "local."),
        ("*.com", "com."),
        ("1.2.0.192.in-addr.arpa", "2.0.192.in-addr.arpa."),
        ("1." + "0." * 15 + "d.f.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", "d.f.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa."),
    ],
)
def test_a_zone_is_derived_from_a_name(name: str, apex: str) -> None:
    assert apexes(name) == [apex]


def test_names_below_a_zone_of_the_config_make_none() -> None:
    assert apexes("a.b.local", "c.local", named=("b.local",)) == ["b.local.", "local."]
    assert apexes("a.b.local", named=("b.local",)) == ["b.local."]


def test_an_soa_makes_a_zone_wherever_it_stands() -> None:
    assert apexes("a.deep.example.com", soa=("deep.example.com",)) == ["deep.example.com."]


def test_the_uppermost_ns_makes_a_zone_and_those_below_delegate() -> None:
    assert apexes("www.a.example", ns=("a.example", "sub.a.example")) == ["a.example."]


def test_a_narrow_name_becomes_a_zone_unless_it_is_in_another() -> None:
    assert apexes("redis.local", narrow=("1.2.0.192.in-addr.arpa",)) == ["1.2.0.192.in-addr.arpa.", "local."]
    assert apexes(narrow=("1.2.0.192.in-addr.arpa",), named=("2.0.192.in-addr.arpa",)) == ["2.0.192.in-addr.arpa."]
