"""The apexes of zones: named, marked by SOA or NS, or derived from names.

Covers `dns.zone.public_suffix`.
"""

from __future__ import annotations

import pytest

from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner, to_text
from npserver.dns.zone import public_suffix
from npserver.dns.zone.apexes import choose_apexes

SOME = (300, (b"",))


def apexes(
    *names: str,
    named: tuple[str, ...] = (),
    soa: tuple[str, ...] = (),
    ns: tuple[str, ...] = (),
    standalone: tuple[str, ...] = (),
) -> list[str]:
    sets = {parse_owner(name): {codes.A: SOME} for name in names}
    sets |= {parse_owner(name): {codes.SOA: SOME} for name in soa}
    sets |= {parse_owner(name): {codes.NS: SOME} for name in ns}
    sets |= {parse_owner(name): {codes.PTR: SOME} for name in standalone}
    found, derived = choose_apexes(map(parse_owner, named), sets, map(parse_owner, standalone))
    assert derived <= found
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
        ("com", "com."),
        ("company.com", "company.com."),
        ("cloud.example.co.uk", "example.co.uk."),
        ("example.co.uk", "example.co.uk."),
        ("co.uk", "co.uk."),
        ("nas.smith.family", "smith.family."),
        ("www.example.museum", "example.museum."),
        ("nas.smith.duckdns.org", "smith.duckdns.org."),
        ("a.b.c.kawasaki.jp", "b.c.kawasaki.jp."),
        ("www.city.kawasaki.jp", "city.kawasaki.jp."),
        ("www.食狮.公司.cn", "xn--85x722f.xn--55qx5d.cn."),
        ("nas.home.arpa", "home.arpa."),
        ("nas.straw.home.arpa", "home.arpa."),
        ("1.2.0.192.in-addr.arpa", "2.0.192.in-addr.arpa."),
        ("9.1.168.192.in-addr.arpa", "1.168.192.in-addr.arpa."),
        ("9.113.7.8.in-addr.arpa", "9.113.7.8.in-addr.arpa."),
        ("113.7.8.in-addr.arpa", "113.7.8.in-addr.arpa."),
        ("*.113.7.8.in-addr.arpa", "113.7.8.in-addr.arpa."),
        ("9.0/25.113.7.8.in-addr.arpa", "0/25.113.7.8.in-addr.arpa."),
        ("1." + "0." * 23 + "8.f.4.0.1.0.0.2.ip6.arpa", "1." + "0." * 23 + "8.f.4.0.1.0.0.2.ip6.arpa."),
        ("1." + "0." * 15 + "d.f.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", "d.f.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa."),
    ],
)
def test_a_zone_is_derived_from_a_name(name: str, apex: str) -> None:
    assert apexes(name) == [apex]


def test_a_private_name_needs_no_public_suffix_list(monkeypatch: pytest.MonkeyPatch) -> None:
    def unread() -> None:
        raise AssertionError("the list was read")

    monkeypatch.setattr(public_suffix, "_load", unread)
    assert apexes("nas.home", "a.local", "b.lan", "c.internal", "nas.home.arpa") == [
        "home.",
        "home.arpa.",
        "internal.",
        "lan.",
        "local.",
    ]


def test_names_below_a_named_apex_derive_no_zone() -> None:
    assert apexes("a.b.local", "c.local", named=("b.local",)) == ["b.local.", "local."]
    assert apexes("a.b.local", named=("b.local",)) == ["b.local."]


def test_an_soa_marks_an_apex_anywhere() -> None:
    assert apexes("a.deep.example.com", soa=("deep.example.com",)) == ["deep.example.com."]


def test_the_topmost_ns_marks_an_apex_and_those_below_mark_cuts() -> None:
    assert apexes("www.a.example", ns=("a.example", "sub.a.example")) == ["a.example."]


def test_a_standalone_name_is_a_zone_unless_another_zone_holds_it() -> None:
    assert apexes("redis.local", standalone=("1.2.0.192.in-addr.arpa",)) == ["1.2.0.192.in-addr.arpa.", "local."]
    assert apexes(standalone=("1.2.0.192.in-addr.arpa",), named=("2.0.192.in-addr.arpa",)) == ["2.0.192.in-addr.arpa."]
