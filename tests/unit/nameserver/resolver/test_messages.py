"""Messages to resolvers and their replies: what counts as a reply (RFC 5452), and the cache."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rrset
import pytest

from npserver.dns.message.query import Query, parse_query
from npserver.nameserver.resolver.messages import (
    Cache,
    address_to,
    fail,
    is_failure,
    is_header_alone,
    key_of,
    make_query,
    match_reply,
    shortest_ttl,
    truncate,
)


def query(name: str = "www.example.net", *, edns: bool = True, number: int = 7) -> Query:
    found = parse_query(
        dns.message.make_query(name, "A", use_edns=edns, payload=1232 if edns else 0, id=number).to_wire()
    )
    assert isinstance(found, Query)
    return found


def reply_to(sent: bytes, ttl: int = 300, records: int = 1) -> bytes:
    message = dns.message.make_response(dns.message.from_wire(sent), recursion_available=True)
    name = message.question[0].name
    if records:
        message.answer.append(dns.rrset.from_text(name, ttl, "IN", "A", *[f"192.0.2.{n}" for n in range(records)]))
    message.additional.append(dns.rrset.from_text("x.example.net.", ttl + 5, "IN", "A", "192.0.2.9"))
    return message.to_wire()


class TestRelayed:
    def test_question_is_ours(self) -> None:
        asked = dns.message.from_wire(make_query(query("wWw.example.NET"), 0x1234))
        assert asked.id == 0x1234
        assert asked.flags == dns.flags.RD
        assert asked.question[0].name.to_text() == "wWw.example.NET."
        assert (asked.edns, asked.payload, asked.options) == (0, 1232, ())

    def test_no_edns_where_the_client_has_none(self) -> None:
        assert dns.message.from_wire(make_query(query(edns=False), 1)).edns == -1

    @pytest.mark.parametrize(
        ("what", "change"),
        [
            ("id", lambda data: b"\0\0" + data[2:]),
            ("QR", lambda data: data[:2] + bytes((data[2] & 0x7F,)) + data[3:]),
            ("opcode", lambda data: data[:2] + bytes((data[2] | 0x10,)) + data[3:]),
            ("questions", lambda data: data[:5] + b"\0" + data[6:]),
            ("name", lambda data: data.replace(b"example", b"exbmple", 1)),
            ("type", lambda data: data.replace(b"net\0\0\1", b"net\0\0\2", 1)),
            ("cut off", lambda data: data[:-1]),
            ("header", lambda data: data[:11]),
            ("empty", lambda data: b""),
            ("pointer forward", lambda data: data.replace(b"\xc0\x0c", b"\xc0\xff", 1)),
        ],
    )
    def test_what_does_not_fit_is_no_reply(self, what: str, change: object) -> None:
        sent = make_query(query(), 0x1234)
        good = reply_to(sent)
        assert match_reply(sent, good) == good
        assert callable(change)
        assert match_reply(sent, change(good)) is None, what

    def test_bytes_after_a_reply_are_cut_off(self) -> None:
        sent = make_query(query(), 0x1234)
        good = reply_to(sent)
        assert match_reply(sent, good + b"trailing") == good

    def test_a_header_alone_is_a_failure_of_the_resolver(self) -> None:
        sent = make_query(query(), 0x1234)
        assert is_header_alone(sent, b"\x12\x34\x81\x81" + bytes(8))
        assert not is_header_alone(sent, b"\x12\x35\x81\x81" + bytes(8))  # another id
        assert not is_header_alone(sent, b"\x12\x34\x01\x81" + bytes(8))  # a query
        assert not is_header_alone(sent, b"\x12\x34\x81\x81" + bytes(7))
        assert not is_header_alone(sent, reply_to(sent))

    def test_a_resolver_can_be_asked_without_edns(self) -> None:
        assert dns.message.from_wire(make_query(query(), 1, with_edns=False)).edns == -1

    def test_reply_is_given_the_askers_id_and_spelling(self) -> None:
        reply = reply_to(make_query(query("www.example.net"), 0x1234))
        mine = dns.message.from_wire(address_to(query("WWW.eXample.net", number=99), reply))
        assert mine.id == 99
        assert mine.question[0].name.to_text() == "WWW.eXample.net."
        assert mine.answer[0].name.to_text() == "WWW.eXample.net."

    def test_a_failure_has_its_rcode_and_question(self) -> None:
        answer = dns.message.from_wire(fail(query(), 2))
        assert (answer.rcode(), answer.id, answer.edns) == (2, 7, 0)
        assert is_failure(fail(query(), 2))
        assert not is_failure(fail(query(), 3))
        assert dns.message.from_wire(truncate(query(edns=False))).flags & dns.flags.TC

    def test_ttl_counts_down_in_the_cache(self) -> None:
        cache, asked = Cache(10), query()
        cache.put(key_of(asked), reply_to(make_query(asked, 1), ttl=300), 1000.0)
        kept = cache.get(key_of(asked), 1100.9)
        assert kept is not None
        message = dns.message.from_wire(kept)
        assert [rrset.ttl for rrset in (*message.answer, *message.additional)] == [200, 205]
        assert cache.get(key_of(asked), 1300.0) is None
        assert len(cache) == 0

    @pytest.mark.parametrize("other", [query("other.example.net"), query(edns=False)])
    def test_cache_tells_questions_apart(self, other: Query) -> None:
        cache, asked = Cache(10), query()
        cache.put(key_of(asked), reply_to(make_query(asked, 1)), 0.0)
        assert cache.get(key_of(other), 1.0) is None
        assert cache.get(key_of(query("WWW.EXAMPLE.NET", number=5)), 1.0) is not None

    def test_cache_keeps_only_what_is_positive(self) -> None:
        cache, asked = Cache(10), query()
        sent = make_query(asked, 1)
        for reply in (
            fail(asked, 2),
            fail(asked, 3),
            truncate(asked),
            reply_to(sent, records=0),
            reply_to(sent, ttl=0),
        ):
            cache.put(key_of(asked), reply, 0.0)
        assert len(cache) == 0

    @pytest.mark.parametrize("size", [0, 3])
    def test_cache_is_bounded(self, size: int) -> None:
        cache = Cache(size)
        for number in range(10):
            asked = query(f"n{number}.example.net")
            cache.put(key_of(asked), reply_to(make_query(asked, 1)), 0.0)
        assert len(cache) == size

    def test_the_shortest_ttl_counts(self) -> None:
        assert shortest_ttl(reply_to(make_query(query(), 1), ttl=77)) == 77
        assert shortest_ttl(fail(query(), 2)) == 0
