"""Tables of nodes and zones."""

from __future__ import annotations

from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner, to_text
from npserver.dns.zone.tables import Node, Tables, UpstreamSet, Zone, ancestors
from tests.stage.nameserver import tables_of


def test_a_name_has_ancestors_up_to_the_root() -> None:
    assert list(map(to_text, ancestors(parse_owner("a.b.c")))) == ["a.b.c.", "b.c.", "c.", "."]


def test_the_negative_ttl_is_the_smaller_of_ttl_and_minimum() -> None:
    """RFC 2308 §5."""
    apex = Node(parse_owner("a"), {})
    for ttl, minimum, expected in ((300, 60, 60), (30, 60, 30)):
        assert Zone(apex, (ttl, (bytes(20) + minimum.to_bytes(4),))).negative_ttl == expected


def test_a_zones_nodes_come_apex_first_then_by_name() -> None:
    tables = tables_of({"b.local": {"A": "10.0.0.1"}, "a.local": {"A": "10.0.0.2"}, "x.other": {"A": "10.0.0.3"}})
    zone = tables.zones[parse_owner("local")]
    assert [to_text(node.key) for node in tables.zone_nodes(zone)] == ["local.", "a.local.", "b.local."]


def test_addresses_of_an_upstream_are_updated() -> None:
    node = Node(parse_owner("a"), {codes.TXT: (60, (b"\1x",))})
    tables = Tables(upstream_sets=[UpstreamSet(node, codes.A, 30, "app")])
    addresses = [b"\1\1\1\1"]
    assert tables.refresh(lambda upstream, rtype: addresses if (upstream, rtype) == ("app", codes.A) else [])
    assert node.sets[codes.A] == (30, (b"\1\1\1\1",))
    assert not tables.refresh(lambda *_: addresses)
    assert tables.refresh(lambda *_: [])
    assert node.sets == {codes.TXT: (60, (b"\1x",))}
    assert repr(node) == "<Node b'\\x01a\\x00' ['TXT']>"
