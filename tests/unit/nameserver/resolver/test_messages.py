"""Messages to resolvers and their replies: what counts as a reply (RFC 5452)."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.rrset
import pytest

from npserver.dns.message.edns import SUBNET_OPTION, extended_error, make_option
from npserver.dns.message.query import Query, parse_query
from npserver.nameserver.resolver.messages import (
    client_subnet,
    fail,
    has_same_case,
    is_header_alone,
    make_query,
    match_reply,
    mix_case,
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
        assert asked.flags == dns.flags.RD | dns.flags.AD  # RFC 6840 §5.7
        assert asked.question[0].name.to_text() == "wWw.example.NET."
        assert (asked.edns, asked.payload, asked.options) == (0, 1232, ())

    def test_edns_is_ours_where_the_client_has_none(self) -> None:
        asked = dns.message.from_wire(make_query(query(edns=False), 1))
        assert (asked.edns, asked.ednsflags) == (0, 0)

    def test_options_of_clients_stay_here_but_a_subnet_where_it_is_passed(self) -> None:
        options = [dns.edns.ECSOption("192.0.2.0", 24), dns.edns.CookieOption(b"12345678", b"")]
        asked = parse_query(dns.message.make_query("a.example", "A", use_edns=0, options=options, id=1).to_wire())
        assert isinstance(asked, Query)
        assert dns.message.from_wire(make_query(asked, 1)).options == ()
        subnet = client_subnet(asked)
        assert [str(one) for one in dns.message.from_wire(make_query(asked, 1, subnet=subnet)).options] == [
            "ECS 192.0.2.0/24 scope/0"
        ]
        assert client_subnet(query()) == client_subnet(query(edns=False)) == b""

    @pytest.mark.parametrize("name", ["a.", "example.com.", "a-name-of-some-length.with.labels.example.org."])
    def test_encrypted_queries_are_padded(self, name: str) -> None:  # RFC 8467 §4.1
        sent = make_query(query(name), 1, is_padded=True)
        assert len(sent) % 128 == 0
        assert dns.message.from_wire(sent).options[0].otype == dns.edns.PADDING
        subnet = make_option(SUBNET_OPTION, bytes.fromhex("00011800c00002"))
        assert len(make_query(query(name), 1, subnet=subnet, is_padded=True)) % 128 == 0

    def test_names_are_asked_for_in_mixed_case(self) -> None:
        sent = make_query(query("www.example-9.net"), 1)
        mixed = mix_case(sent, 0b101)
        assert dns.message.from_wire(mixed).question[0].name.to_text() == "WwW.example-9.net."
        assert mixed.lower() == sent.lower()
        good = reply_to(mixed)
        assert has_same_case(mixed, good)
        assert not has_same_case(mixed, good.replace(b"WwW", b"www"))
        assert match_reply(mixed, good.replace(b"WwW", b"www")) is not None

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

    def test_a_failure_has_its_rcode_question_and_reason(self) -> None:
        answer = dns.message.from_wire(fail(query(), 2, extended_error(22, "why")))
        assert (answer.rcode(), answer.id, answer.edns) == (2, 7, 0)
        assert [str(one) for one in answer.options] == ["EDE 22 (No Reachable Authority): why"]
        assert dns.message.from_wire(fail(query(edns=False), 2, extended_error(22))).edns == -1
        assert dns.message.from_wire(truncate(query(edns=False))).flags & dns.flags.TC

    def test_the_shortest_ttl_counts(self) -> None:
        assert shortest_ttl(reply_to(make_query(query(), 1), ttl=77)) == 77
        assert shortest_ttl(fail(query(), 2)) == 0
