"""Answers that end outside our zones, for clients that may recurse and for others (RFC 1034 §4.3.1)."""

from __future__ import annotations

from typing import Any

import dns.flags
import dns.message
import dns.rrset
import pytest

from npserver.dns.message.cookies import CookieJar
from npserver.dns.message.query import Query, parse_query
from npserver.dns.zone.responder import Responder
from npserver.dns.zone.tables import Tables
from npserver.nameserver.query_processor import Recursion
from npserver.nameserver.resolver.completion import complete
from npserver.nameserver.udp_query_processor import UdpQueryProcessor
from tests.stage.nameserver import ODDITIES, show, tables_of


@pytest.fixture(scope="module")
def tables() -> Tables:
    return tables_of(ODDITIES)


class TestCompletion:
    """RFC 1034 §4.3.1: what leads outside our zones is completed for clients that may recurse."""

    def respond(self, tables: Tables, name: str, kind: str = "A", *, is_recursive: bool = True, rd: bool = True) -> Any:
        processor = UdpQueryProcessor(
            Responder(tables, {}, is_recursive=is_recursive), CookieJar(b"k" * 16), may_recurse=is_recursive
        )
        query = dns.message.make_query(name, kind, flags=dns.flags.RD if rd else 0)
        replies = [processor.respond(query.to_wire(), "192.0.2.1", 0.0, 0.0) for _ in range(12)]  # past every cache
        assert all(reply == replies[0] for reply in replies)
        return dns.message.from_wire(replies[0]) if isinstance(replies[0], bytes) else replies[0]

    def test_names_below_a_dname_to_others_are_asked_for(self) -> None:
        tables = tables_of({"out.example.com": {"DNAME": "elsewhere.net"}, "example.com": {"NS": "ns.elsewhere.net"}})
        assert isinstance(self.respond(tables, "x.out.example.com"), Recursion)
        reply = self.respond(tables, "x.out.example.com", is_recursive=False)
        assert [one.rdtype.name for one in reply.answer] == ["DNAME", "CNAME"]
        query = parse_query(dns.message.make_query("x.out.example.com", "A").to_wire())
        assert isinstance(query, Query)
        aliases = Responder(tables, {}).look_up(query.key, query.qtype)
        assert aliases is not None
        assert aliases.outside == b"\1x\x09elsewhere\3net\0"
        answer = dns.message.make_response(dns.message.make_query("x.elsewhere.net", "A"))
        answer.answer.append(dns.rrset.from_text("x.elsewhere.net.", 9, "IN", "A", "192.0.2.9"))
        whole = dns.message.from_wire(complete(query, aliases.answer, answer.to_wire()))
        assert [(one.rdtype.name, one.ttl) for one in whole.answer] == [("DNAME", 300), ("CNAME", 300), ("A", 9)]

    @pytest.mark.parametrize("name", ["ext.example.com", "host.sub.example.com", "tosub.example.com"])
    def test_names_of_others_are_asked_for(self, tables: Tables, name: str) -> None:
        assert isinstance(self.respond(tables, name), Recursion)
        assert isinstance(self.respond(tables, name, "AAAA"), Recursion)

    @pytest.mark.parametrize("name", ["ext.example.com", "host.sub.example.com", "tosub.example.com"])
    def test_others_get_what_we_have(self, tables: Tables, name: str) -> None:
        shown = show(self.respond(tables, name, rd=False))
        expected = show(self.respond(tables, name, is_recursive=False, rd=False))
        assert (shown[0], shown[2:]) == (expected[0], expected[2:])
        assert shown[2] or shown[3]

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("ext.example.com", "CNAME"),
            ("toother.example.com", "A"),
            ("dangling.example.com", "A"),
            ("loop1.example.com", "A"),
            ("sub.example.com", "DS"),
        ],
    )
    def test_what_ends_in_our_zones_is_answered(self, tables: Tables, name: str, kind: str) -> None:
        assert not isinstance(self.respond(tables, name, kind), Recursion)
