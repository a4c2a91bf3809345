"""Resolvers' answers as they are cached, and the replies that clients get of them (RFC 2308, RFC 6840, RFC 8767)."""

from __future__ import annotations

from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from npserver.dns.message.query import Query, parse_query
from npserver.nameserver.resolver.answer import Answer, Lifetimes, cache_key, failure, read_answer, unpack
from npserver.nameserver.resolver.messages import make_query, match_reply

SOA = "example.net. {} IN SOA ns.example.net. admin.example.net. 1 2 3 4 {}"


def query(name: str = "www.example.net", kind: str = "A", **options: Any) -> Query:
    found = parse_query(dns.message.make_query(name, kind, id=7, **options).to_wire())
    assert isinstance(found, Query)
    return found


def reply(asked: Query, *records: str, rcode: int = 0, flags: int = 0, **options: Any) -> bytes:
    """Return a resolver's reply: SOA records are its authority section, all others its answer."""
    message = dns.message.make_response(dns.message.from_wire(make_query(asked, 1)), recursion_available=True)
    message.set_rcode(dns.rcode.Rcode(rcode))
    message.flags |= flags
    for record in records:
        owner, ttl, rclass, kind, data = record.split(" ", 4)
        section = message.authority if kind == "SOA" else message.answer
        section.append(dns.rrset.from_text(owner, int(ttl), rclass, kind, data))
    if options:
        message.use_edns(0, **options)
    sent = make_query(asked, 1)
    matched = match_reply(sent, message.to_wire())
    assert matched is not None
    return matched


def read(asked: Query, *records: str, lifetimes: Lifetimes = Lifetimes(), **parts: Any) -> Answer | None:  # noqa: B008
    return read_answer(asked, reply(asked, *records, **parts), 1000.0, lifetimes)


def shown(answer: Answer | None, asked: Query, now: float = 1000.0, **parts: Any) -> dns.message.Message:
    assert answer is not None
    return dns.message.from_wire(answer.reply(asked, now, **parts))


A = "www.example.net. 300 IN A 192.0.2.1"


def test_a_reply_has_the_id_and_spelling_of_the_client() -> None:
    found = shown(read(query(), A), query("WWW.eXample.net"))
    assert found.id == 7
    assert found.question[0].name.to_text() == found.answer[0].name.to_text() == "WWW.eXample.net."
    assert found.flags == dns.flags.QR | dns.flags.RD | dns.flags.RA


def test_ttls_count_down() -> None:
    answer = read(query(), A, "www.example.net. 500 IN TXT x")
    assert [rrset.ttl for rrset in shown(answer, query(), 1100.9).answer] == [200, 400]
    assert [rrset.ttl for rrset in shown(answer, query(), 1101.0).answer] == [199, 399]
    assert [rrset.ttl for rrset in shown(answer, query(), 1000.0).answer] == [300, 500]
    assert [rrset.ttl for rrset in shown(answer, query(), 9000.0).answer] == [0, 0]
    assert answer is not None
    assert answer.until == 1300.0


@pytest.mark.parametrize(
    ("records", "rcode", "cached_s"),
    [
        ([A], 0, 300),
        (["www.example.net. 0 IN A 192.0.2.1"], 0, 0),
        (["www.example.net. 4294967295 IN A 192.0.2.1"], 0, 0),  # RFC 2181 §8
        (["www.example.net. 604800 IN A 192.0.2.1"], 0, 86_400),
        (["www.example.net. 60 IN CNAME a.example.net.", "a.example.net. 20 IN A 192.0.2.1"], 0, 20),
        (["www.example.net. 60 IN CNAME a.example.net."], 0, 0),  # neither an address nor an SOA
        (["www.example.net. 60 IN CNAME a.example.net.", SOA.format(300, 40)], 0, 40),
        ([SOA.format(300, 40)], 0, 40),  # the smaller one counts (RFC 2308 §5)
        ([SOA.format(30, 400)], 0, 30),
        ([SOA.format(90_000, 90_000)], 3, 10_800),
        ([SOA.format(300, 0)], 3, 0),
        ([], 0, 0),  # NODATA without an SOA
        ([], 3, 0),
        ([SOA.format(300, 40).replace("example.net. 300", "example.org. 300")], 3, 0),  # of another zone
        ([A], 3, 0),
    ],
)
def test_how_long_an_answer_is_cached(records: list[str], rcode: int, cached_s: int) -> None:
    answer = read(query(), *records, rcode=rcode)
    assert answer is not None
    assert answer.until - answer.since == cached_s


def test_bounds_of_the_ttl_are_those_that_clients_get() -> None:
    bounds = Lifetimes(60, 600, 30)
    for given, expected in ((5, 60), (0, 60), (100, 100), (9999, 600)):
        answer = read(query(), f"www.example.net. {given} IN A 192.0.2.1", lifetimes=bounds)
        assert answer is not None
        assert answer.until == 1000 + expected
        assert shown(answer, query()).answer[0].ttl == expected
    answer = read(query(), SOA.format(500, 400), lifetimes=bounds)
    assert answer is not None
    assert answer.until == 1030
    assert shown(answer, query()).authority[0].ttl == 30
    answer = read(query(), SOA.format(500, 4), lifetimes=bounds)
    assert answer is not None
    assert answer.until == 1004


@pytest.mark.parametrize(
    "record",
    [
        "other.example.net. 60 IN A 192.0.2.1",
        "www.example.net. 60 CH A a. 1",
        "example.net. 60 IN A 192.0.2.1",
    ],
)
def test_an_answer_about_another_name_is_none(record: str) -> None:
    asked = query()
    assert read(asked, record) is None
    assert read(asked, A, record) is None


def test_aliases_lead_to_other_names_in_any_order() -> None:
    records = ["b.example.net. 60 IN A 192.0.2.1", "www.example.net. 60 IN CNAME b.example.net."]
    assert len(shown(read(query(), *records), query()).answer) == 2
    loop = ["www.example.net. 60 IN CNAME b.example.net.", "b.example.net. 60 IN CNAME www.example.net."]
    assert read(query(), *loop) is not None
    dname = ["example.net. 60 IN DNAME example.org.", "www.example.net. 60 IN CNAME www.example.org."]
    assert read(query(), *dname, "www.example.org. 60 IN A 192.0.2.1") is not None
    assert read(query(), "other.net. 60 IN DNAME example.org.", A) is None


def test_authentic_data_is_shown_to_those_who_understand_it() -> None:  # RFC 6840 §5.8
    answer = read(query(), A, flags=dns.flags.AD)
    assert not shown(answer, query()).flags & dns.flags.AD
    assert shown(answer, query(flags=dns.flags.RD | dns.flags.AD)).flags & dns.flags.AD
    assert shown(answer, query(want_dnssec=True)).flags & dns.flags.AD
    assert not shown(read(query(), A), query(want_dnssec=True)).flags & dns.flags.AD
    assert shown(answer, query(flags=dns.flags.RD | dns.flags.CD)).flags & dns.flags.CD


def test_clients_get_edns_as_they_have_it() -> None:
    answer = read(query(), A, options=[dns.edns.EDEOption(4, "forged")])
    assert shown(answer, query()).edns == -1
    found = shown(answer, query(use_edns=0))
    assert (found.edns, found.payload) == (0, 1232)
    assert [str(one) for one in found.options] == ["EDE 4 (Forged Answer): forged"]
    assert shown(answer, query(want_dnssec=True)).ednsflags & dns.flags.DO


def test_options_of_the_resolver_for_itself_are_not_passed_on() -> None:
    options = [dns.edns.CookieOption(b"12345678", b"87654321"), dns.edns.GenericOption(12, bytes(100))]
    assert shown(read(query(), A, options=options), query(use_edns=0)).options == ()


def test_the_upper_bits_of_the_rcode_count() -> None:
    answer = read(query(), rcode=16)
    assert answer is not None
    assert answer.rcode == 16
    assert answer.is_failure


def test_records_after_opt_are_left_out_and_misplaced_ones_refused() -> None:
    asked = query()
    good = reply(asked, A, payload=1232)
    extra = b"\0\0\1\0\1\0\0\0\x05\0\4\1\2\3\4"
    answer = read_answer(asked, good[:11] + b"\2" + good[12:] + extra, 1000.0, Lifetimes())
    assert answer is not None
    assert shown(answer, asked).additional == []
    opt = good[-11:]
    misplaced = good[:7] + b"\2" + good[8:11] + b"\1" + good[12:-11] + opt + opt
    assert read_answer(asked, misplaced, 1000.0, Lifetimes()) is None
    named = good[:-11] + b"\1a" + opt
    assert read_answer(asked, named, 1000.0, Lifetimes()) is None


def test_a_stale_answer_says_so() -> None:
    found = shown(read(query(), A), query(use_edns=0), 2000.0, is_stale=True)
    assert found.answer[0].ttl == 30
    assert [str(one) for one in found.options] == ["EDE 3 (Stale Answer)"]
    answer = read(query(), SOA.format(300, 40), rcode=3)
    found = shown(answer, query(use_edns=0), 2000.0, is_stale=True)
    assert [str(one) for one in found.options] == ["EDE 19 (Stale NXDOMAIN Answer)"]
    assert shown(answer, query(), 2000.0, is_stale=True).edns == -1


def test_an_answer_can_be_told_to_other_processes() -> None:
    asked = query()
    answer = read(asked, A, flags=dns.flags.AD, options=[dns.edns.EDEOption(4)])
    assert answer is not None
    packed = answer.pack()
    again = unpack(packed, asked.question)
    assert again == answer
    for wrong in (packed[:-1], packed + b"x", packed[:20], b""):
        with pytest.raises((ValueError, Exception)):
            unpack(wrong, asked.question)
    with pytest.raises(ValueError, match="not an answer"):
        unpack(packed, query("another.example.net").question)


def test_keys_differ_where_answers_may() -> None:
    same = [query(), query("WWW.example.net"), query(use_edns=0), query(flags=dns.flags.RD | dns.flags.AD)]
    assert len({cache_key(b"group", one, b"") for one in same}) == 1
    chaos = parse_query(dns.message.make_query("www.example.net", "A", "CH", id=7).to_wire())
    assert isinstance(chaos, Query)
    others = [
        query(kind="AAAA"), query("ww.example.net"), query(want_dnssec=True), query(flags=dns.flags.RD | dns.flags.CD),
        chaos,
    ]  # fmt: skip
    keys = {cache_key(b"group", one, b"") for one in [query(), *others]}
    assert len(keys | {cache_key(b"other", query(), b""), cache_key(b"group", query(), b"subnet")}) == 8


def test_a_failure_has_no_records() -> None:
    found = shown(failure(query(), 2, b""), query())
    assert (found.rcode(), found.answer) == (2, [])


RRSIG = "RRSIG A 13 3 300 20300101000000 20200101000000 1 example.net. c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("asked", "kinds"),
    [
        (query(), ["A", "SOA"]),
        (query(want_dnssec=True), ["A", "RRSIG", "SOA", "NSEC"]),
        (query(kind="RRSIG"), ["A", "RRSIG", "SOA"]),
        (query(kind="ANY"), ["A", "RRSIG", "SOA", "NSEC"]),
    ],
    ids=["plain", "DO", "RRSIG", "ANY"],
)
def test_signatures_are_for_those_that_have_asked_for_them(asked: Query, kinds: list[str]) -> None:
    """RFC 4035 §3.2.1, also of a resolver that sends them to all. Names that point to what is left out stay whole."""
    message = dns.message.make_response(dns.message.from_wire(make_query(asked, 1)), recursion_available=True)
    for section, owner, kind, data in (
        (message.answer, "www.example.net.", *RRSIG.split(" ", 1)),
        (message.answer, "www.example.net.", "A", "192.0.2.1"),
        (message.authority, "a.proof.example.net.", "NSEC", "b.proof.example.net. A RRSIG NSEC"),
        (message.authority, "proof.example.net.", "SOA", "ns.proof.example.net. a.proof.example.net. 1 2 3 4 5"),
    ):
        section.append(dns.rrset.from_text(owner, 300, "IN", kind, data))
    matched = match_reply(make_query(asked, 1), message.to_wire())
    assert matched is not None
    answer = read_answer(asked, matched, 1000.0, Lifetimes())
    assert answer is not None
    assert unpack(answer.pack(), asked.question) == answer
    found = shown(answer, asked, 1010.0)
    rrsets = {dns.rdatatype.to_text(one.rdtype): one for one in (*found.answer, *found.authority)}
    assert sorted(rrsets) == sorted(kinds)
    assert {one.ttl for one in rrsets.values()} == {290}
    soa = "proof.example.net. 290 IN SOA ns.proof.example.net. a.proof.example.net. 1 2 3 4 5"
    assert rrsets["SOA"].to_text() == soa
