"""Where the TXT record of DNS-01 belongs."""

from __future__ import annotations

import pytest

from npserver.dns.message.name import parse_owner
from npserver.tls.acme.dns.our_zones import OurZones
from npserver.tls.acme.dns.places import Places, by_record, find_places


def keys(*names: str) -> tuple[bytes, ...]:
    return tuple(parse_owner(name) for name in names)


RECORD = "_acme-challenge.example.com"
ZONES = OurZones(
    frozenset(keys("ours.test", "example.org")),
    frozenset(),
    {
        keys("_acme-challenge.in.ours.test")[0]: keys("x.example.org"),
        keys("_acme-challenge.out.ours.test")[0]: keys("x.elsewhere.test"),
        keys("_acme-challenge.both.ours.test")[0]: keys("x.elsewhere.test", "x.example.org"),
        keys("moved.ours.test")[0]: keys("acme.example.org"),
    },
)


@pytest.mark.parametrize(
    ("name", "alias", "ours", "outside"),
    [
        ("a.ours.test", "", ["_acme-challenge.a.ours.test"], []),
        ("*.a.ours.test", "", ["_acme-challenge.a.ours.test"], []),
        ("example.com", "", [], []),
        ("example.com", "acme.ours.test", ["acme.ours.test"], []),
        ("example.com", "moved.ours.test", ["acme.example.org"], []),
        ("example.com", "acme.elsewhere.test", [], ["acme.elsewhere.test"]),
        ("a.ours.test", "acme.ours.test", ["acme.ours.test", "_acme-challenge.a.ours.test"], []),
        ("in.ours.test", "", ["x.example.org"], []),
        ("out.ours.test", "", [], ["x.elsewhere.test"]),
        ("both.ours.test", "", ["x.example.org"], ["x.elsewhere.test"]),
        ("192.0.2.1", "acme.ours.test", [], []),
    ],
)
def test_the_names_of_the_record(name: str, alias: str, ours: list[str], outside: list[str]) -> None:
    found = find_places(ZONES, name, alias)
    assert (list(found.ours), list(found.outside)) == (ours, outside)
    assert found.are_known is bool(ours)


def test_the_cname_that_must_be_set_is_told() -> None:
    alias = "acme.ours.test"
    assert find_places(ZONES, "*.example.com", alias).describe() == [f"needs the record: {RECORD}. CNAME {alias}."]
    assert find_places(ZONES, "a.ours.test", alias).describe()[0].endswith("its zone is not served by npserver")
    assert find_places(ZONES, "a.ours.test", "").describe() == []


def test_a_name_and_its_wildcard_have_one_record() -> None:
    one, other = find_places(ZONES, "example.com", "acme.ours.test"), find_places(ZONES, "*.example.com", "x.ours.test")
    both = Places(RECORD, ("acme.ours.test", "x.ours.test"), (), (), "acme.ours.test")
    assert by_record([one, other, Places(), one]) == {RECORD: both}
