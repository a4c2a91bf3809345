"""Compiled records: zones, problems with their paths, reverse names, serials, addresses from upstreams.

Covers `dns.zone.redirections`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import dns.rdata
import pytest

from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner, to_text
from npserver.dns.zone.compile import Settings, compile_tables
from npserver.dns.zone.tables import Tables, Zone
from tests.stage.nameserver import tables_of

Records = dict[str, dict[str, Any]]


def zones(tables: Tables) -> set[str]:
    return {to_text(key).rstrip(".") for key in tables.zones}


def zone(tables: Tables, name: str) -> Zone:
    return tables.zones[parse_owner(name)]


def soa(tables: Tables, name: str) -> str:
    data = zone(tables, name).soa[1][0]
    return dns.rdata.from_wire("IN", "SOA", data, 0, len(data)).to_text()


ADDRESS = {"A": "192.0.2.1"}

DERIVED: list[tuple[str, Records, list[str], set[str]]] = [
    ("the last label", {"redis.local": ADDRESS, "a.b.web.local": ADDRESS}, [], {"local"}),
    ("a name of one label", {"nas": ADDRESS}, [], {"nas"}),
    ("NS makes an apex", {"example.com": {"NS": "ns.a"}, "www.example.com": ADDRESS}, [], {"example.com"}),
    ("NS below an apex delegates", {"a.b": {"NS": "n.a"}, "x.a.b": {"NS": "n.a"}}, [], {"a.b"}),
    ("SOA makes an apex anywhere", {"a.b": {"NS": "n.a"}, "x.a.b": {"SOA": "a b 1 2 3 4 5"}}, [], {"a.b", "x.a.b"}),
    ("named zones", {"www.example.com": ADDRESS}, ["example.com"], {"example.com"}),
    ("named zones and others", {"www.example.com": ADDRESS, "a.lan": ADDRESS}, ["example.com"], {"example.com", "lan"}),
    ("no public top-level domain", {"api.company.com": ADDRESS, "x.y.co": ADDRESS}, [], {"company.com", "y.co"}),
    ("a private reverse name: its /24", {"9.2.0.192.in-addr.arpa": {"PTR": "a.b"}}, [], {"2.0.192.in-addr.arpa"}),
    (
        "a private reverse name: its /64",
        {"1." * 30 + "d.f.ip6.arpa": {"PTR": "a.b"}},
        [],
        {"1." * 14 + "d.f.ip6.arpa"},
    ),
    ("a public reverse name: itself", {"1." * 32 + "ip6.arpa": {"PTR": "a.b"}}, [], {"1." * 32 + "ip6.arpa"}),
    ("a wildcard", {"*.lan": ADDRESS}, [], {"lan"}),
    ("a wildcard of a top-level domain", {"*.com": ADDRESS}, [], {"com"}),
    ("a zone without names", {}, ["empty.example"], {"empty.example"}),
]


@pytest.mark.parametrize(("records", "named", "expected"), [case[1:] for case in DERIVED], ids=[c[0] for c in DERIVED])
def test_records_make_zones(records: Records, named: list[str], expected: set[str]) -> None:
    assert zones(tables_of(records, zones=[parse_owner(name) for name in named])) == expected


WRONG: list[tuple[Records, tuple[object, ...], str]] = [
    ({"a..b": ADDRESS}, ("a..b",), "a label is empty"),
    ({"a b": ADDRESS}, ("a b",), "expected a domain name, got 'a b'"),
    ({"a.b": ADDRESS, "A.b.": ADDRESS}, ("A.b.",), "'A.b.' is the same name as 'a.b'"),
    ({"a.b": {"A": "1.2.3"}}, ("a.b", "A"), "A: expected an IPv4 address|expected an IPv4 address"),
    ({"a.b": {"A": ["1.2.3.4", "1.2.3"]}}, ("a.b", "A", 1), "expected an IPv4 address, got '1.2.3'"),
    ({"a.b": {"A": ["1.2.3.4", "1.2.3.4"]}}, ("a.b", "A", 1), "A: '1.2.3.4' is given twice"),
    ({"a.b": {"A": []}}, ("a.b", "A"), "an empty list"),
    ({"a.b": {"AAA": "::1"}}, ("a.b", "AAA"), "unknown record type 'AAA', did you mean AAAA?"),
    ({"a.b": {"A": "1.2.3.4", "a": "1.2.3.4"}}, ("a.b", "a"), "a is given twice"),
    ({"a.b": {"TTL": -1, **ADDRESS}}, ("a.b", "TTL"), "expected a TTL"),
    (
        {"a.b": {"CNAME": "c.d", **ADDRESS}},
        ("a.b", "CNAME"),
        "a CNAME can have no other records, but has A",
    ),
    ({"a.b": {"CNAME": ["c.d", "e.f"]}}, ("a.b", "CNAME"), "a name can have only one"),
    ({"a.b": {"ALIAS": "a.B"}}, ("a.b", "ALIAS"), "ALIAS: 'a.B' is the name itself: write another one"),
    ({"a.b": {"ALIAS": ["c.d"]}}, ("a.b", "ALIAS"), "ALIAS: a name can have only one"),
    ({"a.b": {"ALIAS": "192.0.2.1"}}, ("a.b", "ALIAS"), "ALIAS: expected a host name, got the address '192.0.2.1'"),
    ({"a.b": {"ALIAS": {"name": "x"}}}, ("a.b", "ALIAS"), "ALIAS: unknown key 'name', expected host"),
    ({"a.b": {"ALIAS": "c.d", "alias": "e.f"}}, ("a.b", "alias"), "ALIAS is given twice"),
    ({"a.b": {"ALAS": "c.d"}}, ("a.b", "ALAS"), "unknown record type 'ALAS', did you mean ALIAS?"),
    *[
        ({"a.b": {"ALIAS": "c.d", kind: data}}, ("a.b", "ALIAS"), f"addresses of the name, which has {kind}: leave one")
        for kind, data in (("A", "192.0.2.1"), ("AAAA", "::1"), ("a", ["192.0.2.1"]))
    ],
    ({"a.b": {"DNAME": ["c.d", "e.f"]}}, ("a.b", "DNAME"), "DNAME: a name can have only one"),
    ({"a.b": {"CNAME": "c.d", "DNAME": "e.f"}}, ("a.b", "CNAME"), "can have no other records, but has DNAME"),
    ({"a.b": {"DNAME": "."}}, ("a.b", "DNAME"), "DNAME: expected a host name, got '.'"),
    ({"a.b": {"DNAME": 5}}, ("a.b", "DNAME"), "DNAME: expected text, got 5"),
    (
        {"b": {"NS": "ns.x"}, "a.b": {"DNAME": "c.d", "NS": "ns.x"}},
        ("a.b", "DNAME"),
        "beside NS records it can be at the apex of a zone alone (RFC 6672 §2.4)",
    ),
    (
        {"x.y.a.b": {"CNAME": "a.b"}, "a.b": {"DNAME": "c.d"}},
        ("x.y.a.b",),
        "'x.y.a.b' lies below 'a.b', and its DNAME stands for all names below: leave one of them out",
    ),
    ({"a.b": {"SOA": ["a b 1 2 3 4 5", "a b 2 2 3 4 5"]}}, ("a.b", "SOA"), "a name can have only one"),
    ({"*.a.b": {"NS": "c.d"}}, ("*.a.b", "NS"), "a wildcard cannot delegate"),
    ({"a.b": {"TXT": ["x" * 255 + str(number) for number in range(300)]}}, ("a.b", "TXT"), "more than a message"),
    ({"a.b": {"MX": [{"host": "192.0.2.1"}]}}, ("a.b", "MX", 0), "got the address"),
]


@pytest.mark.parametrize(("records", "path", "message"), WRONG, ids=[case[2] for case in WRONG])
def test_problems_are_reported_with_their_path(records: Records, path: tuple[object, ...], message: str) -> None:
    problems: list[tuple[object, str]] = []
    compile_tables(records, Settings(300), lambda place, text: problems.append((place, text)))
    assert [place for place, _ in problems] == [path]
    assert any(one in problems[0][1] for one in message.split("|"))


def test_all_problems_are_reported_at_once() -> None:
    problems: list[object] = []
    records = {"a b": ADDRESS, "x.y": {"A": ["1", "2"], "MX": "a b c"}, "z": {"CNAME": "1.1.1.1"}}
    compile_tables(records, Settings(300), lambda place, text: problems.append(place))
    assert problems == [("a b",), ("x.y", "A", 0), ("x.y", "A", 1), ("x.y", "MX"), ("z", "CNAME")]


class TestSoa:
    def test_a_default_soa_is_made(self) -> None:
        text = soa(tables_of({"redis.local": ADDRESS}), "local").split()
        assert text[:2] == ["ns.local.", "hostmaster.local."]
        assert text[3:] == ["3600", "600", "604800", "300"]

    def test_the_soa_names_the_first_server(self) -> None:
        assert soa(tables_of({"a.b": {"NS": ["x.y", "z.y"]}}), "a.b").startswith("x.y. ")

    def test_the_serial_follows_the_content(self) -> None:
        one, same, other, slower = (
            soa(tables_of(records), "local").split()[2]
            for records in (
                {"a.local": ADDRESS, "b.local": ADDRESS},
                {"b.local": ADDRESS, "a.local": ADDRESS},
                {"a.local": ADDRESS, "b.local": {"A": "192.0.2.2"}},
                {"a.local": ADDRESS, "b.local": {**ADDRESS, "TTL": 5}},
            )
        )
        assert one == same
        assert len({one, other, slower}) == 3

    def test_an_soa_of_the_config_is_kept(self) -> None:
        assert soa(tables_of({"a.b": {"SOA": "m.n r.n 1 2 3 4 5"}}), "a.b") == "m.n. r.n. 1 2 3 4 5"

    def test_negative_ttl_is_the_smaller(self) -> None:  # RFC 2308 §5
        given = {"a.b": {"SOA": "m.n r.n 1 2 3 4 5", "TTL": 60}, "c.d": {"SOA": "m.n r.n 1 2 3 4 500", "TTL": 60}}
        tables = tables_of(given)
        assert (zone(tables, "a.b").negative_ttl, zone(tables, "c.d").negative_ttl) == (5, 60)


class TestReverse:
    RECORDS: ClassVar[Records] = {
        "web.lan": {"A": ["10.0.0.10", "10.0.0.11"], "AAAA": "fd00::10"},
        "alias.lan": {"A": "10.0.0.10", "TTL": 60},
        "*.lan": {"A": "10.0.0.12"},
        "www.example.com": {"A": "93.184.216.34"},
        "11.0.0.10.in-addr.arpa": {"PTR": "given.lan"},
    }

    def pointers(self, name: str) -> list[str] | None:
        node = tables_of(self.RECORDS, auto_ptr=True).nodes.get(parse_owner(name))
        return None if node is None else [to_text(data) for data in node.sets[codes.PTR][1]]

    def test_reverse_names_are_made_from_addresses(self) -> None:
        assert self.pointers("10.0.0.10.in-addr.arpa") == ["web.lan.", "alias.lan."]
        assert self.pointers("0.1." + "0." * 27 + "0.d.f.ip6.arpa") == ["web.lan."]

    def test_ptr_records_of_the_config_are_kept(self) -> None:
        assert self.pointers("11.0.0.10.in-addr.arpa") == ["given.lan."]

    def test_wildcards_have_no_ptr_records(self) -> None:
        assert self.pointers("12.0.0.10.in-addr.arpa") is None

    def test_private_networks_are_zones_public_addresses_their_own(self) -> None:
        found = zones(tables_of(self.RECORDS, auto_ptr=True))
        assert {"0.0.10.in-addr.arpa", "34.216.184.93.in-addr.arpa"} <= found
        assert "216.184.93.in-addr.arpa" not in found

    def test_reverse_names_are_off_by_default(self) -> None:
        assert "0.0.10.in-addr.arpa" not in zones(tables_of({"web.lan": {"A": "10.0.0.10"}}))


class TestUpstreamSets:
    def test_addresses_follow_the_upstream(self) -> None:
        found = [b"\1\1\1\1"]
        asked: list[object] = []

        def has(path: tuple[object, ...], name: str) -> bool:
            asked.append((path, name))
            return True

        tables = tables_of({"app.lan": {"A": "upstream://pool"}, "app2.lan": ADDRESS}, has_upstream=has)
        assert asked == [(("app.lan", "A"), "pool")]
        node = tables.nodes[parse_owner("app.lan")]
        assert tables.refresh(lambda upstream, rtype: list(found))
        assert node.sets[codes.A] == (5, (b"\1\1\1\1",))
        assert not tables.refresh(lambda upstream, rtype: list(found))
        found[:] = [b"\2\2\2\2"]
        assert tables.refresh(lambda upstream, rtype: list(found))
        assert node.sets[codes.A][1] == (b"\2\2\2\2",)
        found.clear()
        assert tables.refresh(lambda upstream, rtype: list(found))
        assert codes.A not in node.sets


def test_empty_non_terminals_exist_up_to_the_zone_above() -> None:  # RFC 8020
    tables = tables_of({"x.local": ADDRESS, "z.a.b.local": {"SOA": "a b 1 2 3 4 5"}, "p.q.r.local": ADDRESS})
    assert {to_text(key) for key in tables.nodes} == {
        *("local.", "x.local.", "b.local.", "a.b.local.", "z.a.b.local.", "r.local.", "q.r.local.", "p.q.r.local.")
    }
    assert zone(tables, "z.a.b.local").parent is zone(tables, "local")


class TestAddedSets:
    """Records that are not of the config: those of the config win, type by type."""

    RECORDS: ClassVar[Records] = {
        "example.com": {"NS": "ns.example.com"},
        "both.example.com": {"A": "192.0.2.1", "TTL": 60},
        "alias.example.com": {"CNAME": "both.example.com"},
        "pool.example.com": {"A": "upstream://pool"},
    }

    def sets(self, name: str, **settings: Any) -> dict[int, Any] | None:
        key = parse_owner(name)
        added = {key: {codes.A: (300, (b"\3\3\3\3",)), codes.AAAA: (300, (b"\4" * 16,))}}
        tables = tables_of(self.RECORDS, added=added, has_upstream=lambda path, upstream: True, **settings)
        node = tables.nodes.get(key)
        return None if node is None else dict(node.sets)

    def test_a_new_name_has_all_of_them(self) -> None:
        assert self.sets("a.new.example.com") == {codes.A: (300, (b"\3\3\3\3",)), codes.AAAA: (300, (b"\4" * 16,))}
        assert (self.sets("*.example.com") or {}).keys() == {codes.A, codes.AAAA}

    def test_a_type_that_the_config_gives_is_kept_and_its_ttl_is_that_of_all(self) -> None:
        assert self.sets("both.example.com") == {codes.A: (60, (b"\xc0\0\2\1",)), codes.AAAA: (60, (b"\4" * 16,))}

    def test_addresses_of_an_upstream_are_given_by_the_config(self) -> None:
        assert (self.sets("pool.example.com") or {}).keys() == {codes.AAAA}

    def test_an_alias_has_no_other_records(self) -> None:
        assert (self.sets("alias.example.com") or {}).keys() == {codes.CNAME}

    def test_the_apex_keeps_its_own(self) -> None:
        assert (self.sets("example.com") or {}).keys() == {codes.SOA, codes.NS, codes.A, codes.AAAA}

    def test_a_name_outside_all_zones_makes_none(self) -> None:
        assert self.sets("www.example.org") is None
        assert self.sets("www.example.org", zones=[parse_owner("org")]) is not None

    def test_ptr_records_are_made_of_them(self) -> None:
        key = parse_owner("new.example.com")
        tables = tables_of({"example.com": {"NS": "n.a"}}, added={key: {codes.A: (300, (b"\3\3\3\3",))}}, auto_ptr=True)
        assert tables.nodes[parse_owner("3.3.3.3.in-addr.arpa")].sets[codes.PTR] == (300, (key,))
