"""Parsed messages: a query, a reply that reports an error, or no reply (RFC 1035 §4.1)."""

from __future__ import annotations

import dns.message
import dns.opcode
import dns.rcode
import pytest

from npserver.dns.message import codes
from npserver.dns.message.query import Query, name_end, parse_query, record_name_end

QUESTION = b"\3wWw\7example\3net\0\0\1\0\1"


def message(flags: int = 0x0100, counts: tuple[int, int, int, int] = (1, 0, 0, 0), rest: bytes = QUESTION) -> bytes:
    return b"\x12\x34" + flags.to_bytes(2) + b"".join(count.to_bytes(2) for count in counts) + rest


def refused_with(data: bytes) -> int:
    reply = parse_query(data)
    assert isinstance(reply, bytes)
    read = dns.message.from_wire(reply)
    assert read.id == 0x1234
    return int(read.rcode())


def test_the_parts_of_a_query() -> None:
    query = parse_query(message())
    assert isinstance(query, Query)
    assert (query.key, query.qtype, query.qclass) == (b"\3www\7example\3net\0", codes.A, codes.CLASS_IN)
    assert (query.question, query.recursion_desired, query.edns, query.head_index) == (QUESTION, True, None, 1)


def test_a_query_with_edns() -> None:
    query = parse_query(
        dns.message.make_query("a.example", "AAAA", use_edns=0, payload=900, want_dnssec=True).to_wire()
    )
    assert isinstance(query, Query)
    assert query.edns == (900, 1, 0, None, 0)
    assert query.head_index == 3


def test_rfc_1995_3_ixfr_may_have_an_soa_in_its_authority_section() -> None:
    soa = b"\0\0\6\0\1\0\0\0\0\0\x02xx"
    assert isinstance(parse_query(message(counts=(1, 0, 1, 0), rest=QUESTION + soa)), Query)


@pytest.mark.parametrize("data", [b"", b"x" * 11, message(flags=0x8000)])
def test_short_messages_and_replies_get_no_reply(data: bytes) -> None:
    assert parse_query(data) is None


@pytest.mark.parametrize(
    ("opcode", "rcode"),
    [
        (dns.opcode.UPDATE, codes.REFUSED),
        (dns.opcode.STATUS, codes.NOTIMP),
        (15, codes.NOTIMP),
    ],
)
def test_other_opcodes_are_refused(opcode: int, rcode: int) -> None:
    assert refused_with(message(flags=opcode << 11)) == rcode


@pytest.mark.parametrize(
    "data",
    [
        message(counts=(0, 0, 0, 0), rest=b""),
        message(counts=(2, 0, 0, 0), rest=QUESTION * 2),
        message(counts=(1, 1, 0, 0)),
        message(rest=QUESTION[:-1]),
        message(rest=QUESTION + b"x"),
        message(rest=b"\3www\xc0\x0c\0\1\0\1"),  # a pointer has nothing to point to
        message(rest=b"\x40" + b"a" * 64 + b"\0\0\1\0\1"),
        message(rest=(b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1"),
        message(counts=(1, 0, 0, 1)),
        message(counts=(1, 0, 0, 1), rest=QUESTION + b"\0\0\x29\4\xd0\0\0\0\0\0\x05"),
        message(counts=(1, 0, 0, 2), rest=QUESTION + b"\0\0\x29\4\xd0\0\0\0\0\0\0" * 2),
        message(counts=(1, 0, 1, 0), rest=QUESTION + b"\0\0\x29\4\xd0\0\0\0\0\0\0"),
    ],
)
def test_malformed_queries_get_formerr(data: bytes) -> None:
    assert refused_with(data) == codes.FORMERR


def test_the_end_of_a_name_in_a_question() -> None:
    assert name_end(b"\3www\0rest", 0) == 5
    assert name_end(b"\3ww", 0) is None
    assert name_end(b"\xc0\x0c", 0) is None


def test_compression_pointers_lead_back_into_the_message() -> None:
    data = message() + b"\xc0\x0c"
    assert record_name_end(data, len(data) - 2) == len(data)
    for pointer in (b"\xc0\x05", b"\xc0\xff", b"\xc0"):
        odd = message() + pointer
        assert record_name_end(odd, len(message())) is None
