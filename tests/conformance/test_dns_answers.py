"""Tables of questions with the complete answers expected, parsed by dnspython: (name, type) to rcode, flags, sections.

RFC 1034 §4.3.2 (the algorithm), RFC 2181 (truncation), RFC 2308 (negative answers), RFC 4592 (wildcards), RFC 6604
(rcode at the end of aliases), RFC 6891 (EDNS), RFC 8482 (ANY), RFC 9471 (glue).

Covers `dns.zone.answer` and `dns.zone.lookup`.
"""

from __future__ import annotations

from typing import Any

import dns.edns
import dns.flags
import dns.message
import pytest

from npserver.dns.message.cookies import CookieJar
from npserver.dns.zone.responder import Responder
from npserver.dns.zone.tables import Tables
from npserver.nameserver.query_processor import QueryProcessor, Recursion, TransferRequest
from npserver.nameserver.transfers.access import AccessList, TransferAccess
from npserver.nameserver.udp_query_processor import UdpQueryProcessor
from npserver.networks import Networks, parse_network
from tests.stage.nameserver import ODDITIES, ask, limiter_of, processor_of, show, tables_of

SOA = "example.com. 120 SOA ns1.example.com. hostmaster.example.com. 7 3600 600 604800 120"
CHILD_SOA = "child." + SOA
WEB_A = ["web.example.com. 300 A 192.0.2.5", "web.example.com. 300 A 192.0.2.6"]
WEB_AAAA = "web.example.com. 300 AAAA 2001:db8::5"
MX1 = "mx1.example.com. 60 A 192.0.2.4"
NS1 = ["ns1.example.com. 300 A 192.0.2.2", "ns1.example.com. 300 AAAA 2001:db8::2"]
SUB_NS = ["sub.example.com. 300 NS ns.sub.example.com.", "sub.example.com. 300 NS ns1.example.com."]
SUB_GLUE = ["ns.sub.example.com. 300 A 192.0.2.9", "ns.sub.example.com. 300 AAAA 2001:db8::9", *NS1]

Case = tuple[str, str, str, list[str], list[str], list[str]]
AUTHORITATIVE: list[Case] = [
    ("web.example.com", "A", "NOERROR", WEB_A, [], []),
    ("web.example.com", "MX", "NOERROR", [], [SOA], []),
    ("missing.example.com", "A", "NXDOMAIN", [], [SOA], []),
    ("b.c.example.com", "TXT", "NOERROR", [], [SOA], []),  # an empty non-terminal
    ("x.b.c.example.com", "TXT", "NXDOMAIN", [], [SOA], []),
    ("example.com", "SOA", "NOERROR", [SOA.replace(" 120 SOA", " 300 SOA")], [], []),
    ("example.com", "DS", "NOERROR", [], [SOA], []),
    (
        "example.com",
        "MX",
        "NOERROR",
        ["example.com. 300 MX 10 mx1.example.com.", "example.com. 300 MX 20 mx.elsewhere.net."],
        [],
        [MX1],
    ),
    (
        "example.com",
        "NS",
        "NOERROR",
        ["example.com. 300 NS ns1.example.com.", "example.com. 300 NS ns2.example.com."],
        [],
        [*NS1, "ns2.example.com. 300 A 192.0.2.3"],
    ),
    ("www.example.com", "A", "NOERROR", [*WEB_A, "www.example.com. 300 CNAME web.example.com."], [], []),
    ("www.example.com", "CNAME", "NOERROR", ["www.example.com. 300 CNAME web.example.com."], [], []),
    ("www.example.com", "ANY", "NOERROR", ["www.example.com. 300 CNAME web.example.com."], [], []),
    ("www.example.com", "TXT", "NOERROR", ["www.example.com. 300 CNAME web.example.com."], [SOA], []),
    ("ext.example.com", "A", "NOERROR", ["ext.example.com. 300 CNAME www.elsewhere.net."], [], []),
    ("dangling.example.com", "A", "NXDOMAIN", ["dangling.example.com. 300 CNAME missing.example.com."], [SOA], []),
    (
        "c1.example.com",
        "AAAA",
        "NOERROR",
        [
            "c1.example.com. 300 CNAME c2.example.com.",
            "c2.example.com. 300 CNAME c3.example.com.",
            "c3.example.com. 300 CNAME web.example.com.",
            WEB_AAAA,
        ],
        [],
        [],
    ),
    (
        "loop1.example.com",
        "A",
        "NOERROR",
        ["loop1.example.com. 300 CNAME loop2.example.com.", "loop2.example.com. 300 CNAME loop1.example.com."],
        [],
        [],
    ),
    ("self.example.com", "A", "NOERROR", ["self.example.com. 300 CNAME self.example.com."], [], []),
    (
        "toother.example.com",  # into another zone of ours
        "A",
        "NOERROR",
        ["toother.example.com. 300 CNAME www.other.test.", "www.other.test. 300 A 198.51.100.2"],
        [],
        [],
    ),
    ("tosub.example.com", "A", "NOERROR", ["tosub.example.com. 300 CNAME host.sub.example.com."], SUB_NS, SUB_GLUE),
    ("any.wild.example.com", "A", "NOERROR", ["any.wild.example.com. 300 A 192.0.2.7"], [], []),
    ("a.b.c.wild.example.com", "A", "NOERROR", ["a.b.c.wild.example.com. 300 A 192.0.2.7"], [], []),
    ("any.wild.example.com", "MX", "NOERROR", ["any.wild.example.com. 300 MX 5 mx1.example.com."], [], [MX1]),
    ("any.wild.example.com", "TXT", "NOERROR", [], [SOA], []),
    ("wild.example.com", "A", "NOERROR", [], [SOA], []),
    ("there.wild.example.com", "A", "NOERROR", [], [SOA], []),  # exists: the wildcard does not speak for it
    ("x.there.wild.example.com", "A", "NXDOMAIN", [], [SOA], []),
    ("ent.wild.example.com", "A", "NOERROR", [], [SOA], []),
    ("x.ent.wild.example.com", "A", "NXDOMAIN", [], [SOA], []),
    ("*.wild.example.com", "A", "NOERROR", ["*.wild.example.com. 300 A 192.0.2.7"], [], []),
    ("x.*.wild.example.com", "A", "NXDOMAIN", [], [SOA], []),
    ("q.cwild.example.com", "AAAA", "NOERROR", ["q.cwild.example.com. 300 CNAME web.example.com.", WEB_AAAA], [], []),
    ("q.nwild.example.com", "A", "NXDOMAIN", ["q.nwild.example.com. 300 CNAME missing.example.com."], [SOA], []),
    ("child.example.com", "TXT", "NOERROR", [], [CHILD_SOA], []),
    ("child.example.com", "DS", "NOERROR", [], [SOA], []),  # the parent's side (RFC 4035 §3.1.4.1)
    ("x.child.example.com", "A", "NXDOMAIN", [], [CHILD_SOA], []),
    ("sub.example.com", "DS", "NOERROR", [], [SOA], []),
    ("odd.example.com", "TYPE65280", "NOERROR", ["odd.example.com. 300 TYPE65280 \\# 4 0a000001"], [], []),
    ("web.example.com", "HTTPS", "NOERROR", ['web.example.com. 300 HTTPS 1 . alpn="h2,h3"'], [], [*WEB_A, WEB_AAAA]),
    (
        "_sip._tcp.example.com",
        "SRV",
        "NOERROR",
        [
            "_sip._tcp.example.com. 300 SRV 0 1 5060 web.example.com.",
            "_sip._tcp.example.com. 300 SRV 1 1 5060 mx1.example.com.",
        ],
        [],
        [MX1, *WEB_A, WEB_AAAA],
    ),
]
WITHOUT_AUTHORITY: list[Case] = [
    ("sub.example.com", "NS", "NOERROR", [], SUB_NS, SUB_GLUE),
    ("host.sub.example.com", "A", "NOERROR", [], SUB_NS, SUB_GLUE),  # below a cut
    ("a.b.sub.example.com", "A", "NOERROR", [], SUB_NS, SUB_GLUE),
    ("ns.sub.example.com", "A", "NOERROR", [], SUB_NS, SUB_GLUE),  # glue is no answer
    ("noglue.example.com", "A", "NOERROR", [], ["noglue.example.com. 300 NS ns.elsewhere.net."], []),
    ("google.com", "A", "REFUSED", [], [], []),
    (".", "NS", "REFUSED", [], [], []),
    ("com", "SOA", "REFUSED", [], [], []),
    ("xexample.com", "A", "REFUSED", [], [], []),
    ("example.com", "AXFR", "REFUSED", [], [], []),
    ("example.com", "IXFR", "REFUSED", [], [], []),
]
CASES = [(case, "QR AA RD") for case in AUTHORITATIVE] + [(case, "QR RD") for case in WITHOUT_AUTHORITY]


@pytest.fixture(scope="module")
def tables() -> Tables:
    return tables_of(ODDITIES)


@pytest.mark.parametrize("stream", [False, True], ids=["udp", "stream"])
@pytest.mark.parametrize(("case", "flags"), CASES, ids=[f"{case[0]}-{case[1]}" for case, _ in CASES])
def test_each_question_has_its_whole_answer(tables: Tables, case: Case, flags: str, stream: bool) -> None:
    name, kind, rcode, *sections = case
    processor = processor_of(tables, stream=stream)
    query = dns.message.make_query(name, kind, use_edns=0, payload=1232)
    for _ in range(3):  # made, found, cached
        data = ask(processor, query.to_wire())
        assert data is not None
        reply = dns.message.from_wire(data)
        assert query.is_response(reply)
        assert show(reply) == (rcode, flags, *map(sorted, sections))


def reply_of(processor: QueryProcessor, name: str, kind: str, **options: Any) -> dns.message.Message:
    data = ask(processor, dns.message.make_query(name, kind, **options).to_wire())
    assert data is not None
    return dns.message.from_wire(data)


class TestAny:
    """All records if the client's address cannot be forged, a minimal answer if it can (RFC 8482)."""

    def test_all_records_over_streams_and_private_udp(self, tables: Tables) -> None:
        for processor in (
            processor_of(tables),
            processor_of(tables, stream=True),
            processor_of(tables, stream=True, public=True),
        ):
            reply = reply_of(processor, "example.com", "ANY", use_edns=0, payload=1232)
            assert {rrset.rdtype.name for rrset in reply.answer} == {"SOA", "NS", "MX", "A", "TXT", "CAA"}

    @pytest.mark.parametrize("name", ["example.com", "any.wild.example.com", "web.example.com"])
    def test_any_over_public_udp_gets_a_minimal_answer(self, tables: Tables, name: str) -> None:
        responder = Responder(tables, {})
        everything = QueryProcessor(responder, CookieJar(b"k"))
        minimal = UdpQueryProcessor(responder, CookieJar(b"k"), limiter=limiter_of(1000, 2))
        for processor in (everything, minimal, everything, minimal):  # that share their answers
            reply = reply_of(processor, name, "ANY")
            is_minimal = [str(rrset[0]) for rrset in reply.answer] == ['"RFC8482" ""']
            assert is_minimal == (processor is minimal)

    def test_nxdomain_for_any(self, tables: Tables) -> None:
        assert reply_of(processor_of(tables, public=True), "missing.example.com", "ANY").rcode() == 3


class TestSize:
    """Sizes of replies: 512 bytes; with EDNS the client's limit up to 1232; any size over a stream."""

    @pytest.mark.parametrize(
        ("payload", "fits"), [(None, False), (512, False), (900, True), (1232, True), (4096, True), (0, False)]
    )
    def test_an_answer_that_does_not_fit_is_truncated(self, tables: Tables, payload: int | None, fits: bool) -> None:
        options = {} if payload is None else {"use_edns": 0, "payload": payload}
        reply = reply_of(processor_of(tables), "middle.example.com", "TXT", **options)
        assert bool(reply.flags & dns.flags.TC) is not fits
        assert len(reply.answer) == fits
        assert reply.edns == (-1 if payload is None else 0)

    def test_no_more_than_1232_bytes_over_udp(self, tables: Tables) -> None:
        reply = reply_of(processor_of(tables), "big.example.com", "TXT", use_edns=0, payload=65_000)
        assert reply.flags & dns.flags.TC
        assert not reply.answer

    def test_no_limit_over_a_stream(self, tables: Tables) -> None:
        reply = reply_of(processor_of(tables, stream=True), "big.example.com", "TXT")
        assert len(reply.answer[0]) == 30
        assert not reply.flags & dns.flags.TC

    def test_the_additional_section_is_left_out_first(self, tables: Tables) -> None:  # RFC 2181 §9
        reply = reply_of(processor_of(tables), "many.example.com", "MX", use_edns=0, payload=1000)
        assert len(reply.answer[0]) == 30
        assert not reply.additional
        assert not reply.flags & dns.flags.TC

    def test_glue_is_never_left_out(self) -> None:  # RFC 9471
        records: dict[str, dict[str, object]] = {
            "a.b": {"NS": "ns.c.d"},
            "x.a.b": {"NS": [f"ns{number}.x.a.b" for number in range(20)]},
            **{f"ns{number}.x.a.b": {"A": "192.0.2.1", "AAAA": "2001:db8::1"} for number in range(20)},
        }
        reply = reply_of(processor_of(tables_of(records)), "www.x.a.b", "A")
        assert reply.flags & dns.flags.TC


class TestRotation:
    """Addresses are rotated: each is first in turn (RFC 1794)."""

    @pytest.mark.parametrize("count", [2, 3, 5, 40])
    def test_every_address_is_first_in_turn(self, count: int) -> None:
        addresses = [f"192.0.2.{number}" for number in range(count)]
        processor = processor_of(tables_of({"a.local": {"A": addresses}, "b.local": {"CNAME": "a.local"}}))
        for name in ("a.local", "b.local"):
            firsts = []
            for _ in range(2 * count):
                reply = reply_of(processor, name, "A", use_edns=0, payload=1232)
                firsts.append(str(reply.answer[-1][0]))
                assert {str(one) for one in reply.answer[-1]} == set(addresses)
            expected = addresses if count <= 16 else addresses[::3]
            assert set(firsts) == set(expected)
            assert firsts[0] != firsts[1]


class TestEdns:
    """RFC 6891, RFC 7873."""

    def test_a_query_without_opt_gets_none(self, tables: Tables) -> None:
        assert reply_of(processor_of(tables), "web.example.com", "A").edns == -1

    def test_the_reply_says_our_udp_size(self, tables: Tables) -> None:
        reply = reply_of(processor_of(tables), "web.example.com", "A", use_edns=0, payload=4096)
        assert (reply.edns, reply.payload) == (0, 1232)

    def test_another_edns_version_is_answered_with_badvers(self, tables: Tables) -> None:
        reply = reply_of(processor_of(tables), "web.example.com", "A", use_edns=1)
        assert (reply.rcode(), reply.edns, reply.answer) == (16, 0, [])

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_cookie_is_answered_with_ours(self, tables: Tables, stream: bool) -> None:
        processor = processor_of(tables, stream=stream)
        first = reply_of(processor, "web.example.com", "A", options=[dns.edns.CookieOption(b"client--", b"")])
        option = first.options[0]
        assert isinstance(option, dns.edns.CookieOption)
        assert option.client == b"client--"
        again = reply_of(processor, "web.example.com", "A", options=[option])
        assert again.options == (option,)

    def test_a_client_with_a_valid_cookie_is_not_rate_limited(self, tables: Tables) -> None:
        processor = processor_of(tables, limiter=limiter_of(1, 0))
        first = reply_of(processor, "web.example.com", "A", options=[dns.edns.CookieOption(b"client--", b"")])
        proved = dns.message.make_query("web.example.com", "A", options=list(first.options)).to_wire()
        forged = dns.message.make_query("web.example.com", "A").to_wire()
        assert ask(processor, forged) is None
        assert all(ask(processor, proved) for _ in range(5))


class TestLimit:
    """Response rate limiting, also of queries that the fast path does not handle."""

    @pytest.mark.parametrize(
        "query",
        [
            dns.message.make_query("web.example.com", "A").to_wire(),
            dns.message.make_query("missing.example.com", "A").to_wire(),
            dns.message.make_query("google.com", "A").to_wire(),
            dns.message.make_query("web.example.com", "A", use_edns=1).to_wire(),
            b"\0\1\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1",
        ],
        ids=["hit", "miss", "refused", "badvers", "formerr"],
    )
    def test_replies_above_the_limit_are_dropped(self, tables: Tables, query: bytes) -> None:
        processor = processor_of(tables, limiter=limiter_of(3, 0))
        assert [ask(processor, query) is not None for _ in range(6)] == [True] * 3 + [False] * 3
        assert ask(processor, query, "198.51.100.1") is not None

    def test_random_names_count_as_one(self, tables: Tables) -> None:
        processor = processor_of(tables, limiter=limiter_of(3, 0))
        queries = [dns.message.make_query(f"x{number}.example.com", "A").to_wire() for number in range(6)]
        assert [ask(processor, query) is not None for query in queries] == [True] * 3 + [False] * 3

    def test_with_slip_limited_replies_are_truncated(self, tables: Tables) -> None:
        processor = processor_of(tables, limiter=limiter_of(1, 1))
        replies = [reply_of(processor, "web.example.com", "A") for _ in range(2)]
        assert [bool(reply.flags & dns.flags.TC) for reply in replies] == [False, True]
        assert not replies[1].answer


class TestActions:
    """Queries that are not answered from the tables: recursion and zone transfers."""

    def respond(self, processor: QueryProcessor, name: str, kind: str, **options: Any) -> object:
        query = dns.message.make_query(name, kind, **options)
        if options.get("flags") is None:
            query.flags |= dns.flags.RD
        return processor.respond(query.to_wire(), "192.0.2.1", 0.0, 0.0)

    @pytest.mark.parametrize("stream", [False, True])
    def test_foreign_names_are_resolved_for_clients_that_may_recurse(self, tables: Tables, stream: bool) -> None:
        processor = processor_of(tables, stream=stream, may_recurse=True)
        assert isinstance(self.respond(processor, "www.google.com", "A"), Recursion)
        assert isinstance(self.respond(processor, "www.google.com", "A", flags=0), bytes)  # no RD: not asked for
        assert isinstance(self.respond(processor, "missing.example.com", "A"), bytes)
        assert isinstance(self.respond(processor_of(tables, stream=stream), "www.google.com", "A"), bytes)

    def test_ra_is_set_for_clients_that_may_recurse(self, tables: Tables) -> None:
        assert reply_of(processor_of(tables, may_recurse=True), "web.example.com", "A").flags & dns.flags.RA
        assert not reply_of(processor_of(tables), "web.example.com", "A").flags & dns.flags.RA

    def test_only_a_stream_that_may_transfer_does(self, tables: Tables) -> None:
        everybody = TransferAccess(AccessList("", Networks([parse_network("0.0.0.0/0")])))
        stream = processor_of(tables, stream=True, transfers=everybody)
        assert isinstance(self.respond(stream, "example.com", "AXFR"), TransferRequest)
        assert isinstance(self.respond(processor_of(tables, transfers=everybody), "example.com", "AXFR"), bytes)
        assert isinstance(self.respond(processor_of(tables, stream=True), "example.com", "AXFR"), bytes)


def test_changed_upstream_addresses_are_answered_at_once() -> None:
    found = [b"\1\1\1\1"]
    tables = tables_of(
        {"app.local": {"A": "upstream://pool"}, "x.local": {"SRV": "0 0 1 app.local"}},
        has_upstream=lambda path, name: True,
    )
    tables.refresh(lambda upstream, kind: list(found))
    processor = processor_of(tables)
    assert isinstance(processor, UdpQueryProcessor)
    for address in ("1.1.1.1", "2.2.2.2"):
        found[:] = [bytes(map(int, address.split(".")))]
        if tables.refresh(lambda upstream, kind: list(found)):
            processor.responder.clear()
            processor.forget()
        for _ in range(20):
            assert str(reply_of(processor, "app.local", "A").answer[0][0]) == address
            assert str(reply_of(processor, "x.local", "SRV").additional[0][0]) == address


class TestDerivedZones:
    @pytest.mark.parametrize(
        ("ours", "missing", "foreign"),
        [
            ("cloud.example.co.uk", "other.example.co.uk", "www.bbc.co.uk"),
            ("nas.smith.family", "tv.smith.family", "www.jones.family"),
            ("nas.smith.duckdns.org", "tv.smith.duckdns.org", "jones.duckdns.org"),
            ("nas.home", "tv.home", "www.example.com"),
            ("9.1.168.192.in-addr.arpa", "8.1.168.192.in-addr.arpa", "9.2.168.192.in-addr.arpa"),
            ("9.113.7.8.in-addr.arpa", "x.9.113.7.8.in-addr.arpa", "8.113.7.8.in-addr.arpa"),
        ],
    )
    def test_names_of_others_are_not_ours(self, ours: str, missing: str, foreign: str) -> None:
        processor = processor_of(tables_of({ours: {"TXT": "x"}}))
        rcodes = [dns.rcode.to_text(reply_of(processor, name, "TXT").rcode()) for name in (ours, missing, foreign)]
        assert rcodes == ["NOERROR", "NXDOMAIN", "REFUSED"]
