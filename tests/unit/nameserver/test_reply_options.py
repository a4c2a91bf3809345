"""Options of replies for clients that ask for them: NSID (RFC 5001), edns-tcp-keepalive (RFC 7828)."""

from __future__ import annotations

from typing import Any

import dns.edns
import dns.message
import dns.rcode
import pytest

from npserver.nameserver.query_processor import QueryProcessor
from npserver.nameserver.reply_options import ReplyOptions
from tests.stage.nameserver import ask, limiter_of, processor_of, tables_of

RECORDS = {
    "example.com": {"A": "192.0.2.1", "TXT": ["x" * 200] * 1},
    "big.example.com": {"TXT": ["y" * 250, "z" * 250, "a" * 250]},
}
NSID, KEEPALIVE, COOKIE = 3, 11, 10


def processor(*, stream: bool, **settings: Any) -> QueryProcessor:
    found = processor_of(tables_of(RECORDS), stream=stream, **settings)
    options = ReplyOptions()
    options.set_nsid("fra1")
    if stream:
        options.set_idle_timeout(12.34)
    found.options = options
    return found


def options_of(one: QueryProcessor, *options: tuple[int, bytes], name: str = "example.com", **query: Any) -> Any:
    """Return the rcode and the options of the answer, by code."""
    asked = [dns.edns.GenericOption(code, data) for code, data in options]
    made = dns.message.make_query(name, query.pop("kind", "A"), use_edns=0, options=asked, **query)
    reply = dns.message.from_wire(ask(one, made.to_wire()) or b"")
    found = {int(option.otype): option.to_wire() for option in reply.options}
    return reply.rcode().name, found


@pytest.mark.parametrize("stream", [False, True], ids=["udp", "stream"])
@pytest.mark.parametrize("data", [b"", b"ignored"], ids=["empty", "with data"])
def test_the_identifier_is_given_to_who_asks(stream: bool, data: bytes) -> None:
    one = processor(stream=stream)
    for _ in range(20):  # past the caches
        assert options_of(one) == ("NOERROR", {})
        assert options_of(one, (NSID, data)) == ("NOERROR", {NSID: b"fra1"})
        assert options_of(one, (NSID, data), name="missing.example.com")[1] == {NSID: b"fra1"}


@pytest.mark.parametrize("stream", [False, True], ids=["udp", "stream"])
def test_beside_a_cookie_and_refusals(stream: bool) -> None:
    one = processor(stream=stream)
    _, found = options_of(one, (COOKIE, b"clientid"), (NSID, b""))
    assert found.keys() == {COOKIE, NSID}
    rcode, found = options_of(one, (NSID, b""), name="other.test")
    assert (rcode, found[NSID]) == ("REFUSED", b"fra1")
    assert 15 in found  # why it is refused


def test_without_an_identifier_there_is_none() -> None:
    assert options_of(processor_of(tables_of(RECORDS)), (NSID, b"")) == ("NOERROR", {})


def test_the_identifier_counts_for_the_size_of_the_answer() -> None:
    one = processor(stream=False)

    def answer(size: int, *options: dns.edns.Option) -> bytes:
        query = dns.message.make_query("big.example.com", "TXT", use_edns=0, payload=size, options=options)
        return ask(one, query.to_wire()) or b""

    whole = answer(1232)
    assert not whole[2] & 2
    limit, nsid = len(whole), dns.edns.GenericOption(NSID, b"")
    short = answer(limit + 7, nsid)  # the option takes 8 bytes
    assert short[2] & 2, "truncated"
    assert not answer(limit + 8, nsid)[2] & 2


def test_limited_answers_have_it_too() -> None:
    one = processor(stream=False, limiter=limiter_of(1, 1))
    answers = [options_of(one, (NSID, b"")) for _ in range(3)]
    assert answers == [("NOERROR", {NSID: b"fra1"})] * 3  # the truncated ones as well


def test_the_idle_timeout_is_told_over_streams() -> None:
    """RFC 7828 §3.1: in units of 100 ms."""
    assert options_of(processor(stream=True), (KEEPALIVE, b"")) == ("NOERROR", {KEEPALIVE: (123).to_bytes(2, "big")})
    assert options_of(processor(stream=True)) == ("NOERROR", {})
    many = ReplyOptions()
    many.set_idle_timeout(100_000.0)
    assert many.keepalive[-2:] == b"\xff\xff"


def test_over_udp_the_option_is_ignored() -> None:
    """RFC 7828 §3.2.2"""
    for data in (b"", b"\0\1", b"\0\1\2"):
        assert options_of(processor(stream=False), (KEEPALIVE, data)) == ("NOERROR", {})


@pytest.mark.parametrize("data", [b"\0\1", b"\0", b"\0\1\2"])
def test_a_client_that_sends_a_timeout_is_wrong(data: bytes) -> None:
    """RFC 7828 §3.2.1"""
    assert options_of(processor(stream=True), (KEEPALIVE, data))[0] == "FORMERR"
    assert options_of(processor(stream=True), (KEEPALIVE, b""), (KEEPALIVE, data))[0] == "FORMERR"
