"""RFC 8945: signed questions to a name server, with dnspython as the client.

Covers `nameserver.transfers.access`.
"""

from __future__ import annotations

from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.tsig
import pytest

from npserver.dns.message.query import Query, parse_query
from npserver.dns.message.tsig import TsigKey
from npserver.nameserver.query_processor import Peers, QueryProcessor, Recursion, TransferRequest
from npserver.nameserver.transfers.access import AccessList, TransferAccess
from tests.stage.nameserver import ODDITIES, ask, processor_of, tables_of

NOW = 1_700_000_000
SECRET = b"0123456789abcdef0123456789abcdef"
KEY = dns.tsig.Key("xfr.", SECRET, "hmac-sha256")
OTHERS = {
    "BADSIG": dns.tsig.Key("xfr.", b"another secret", "hmac-sha256"),
    "BADKEY": dns.tsig.Key("unknown.", SECRET, "hmac-sha256"),
    "BADALG": dns.tsig.Key("xfr.", SECRET, "hmac-sha512"),
}


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: float(NOW))  # dnspython's clock


def processor(*, stream: bool = False, **settings: Any) -> QueryProcessor:
    peers = Peers({b"\3xfr\0": TsigKey(b"\3xfr\0", SECRET)}, **settings.pop("peers", {}))
    access = TransferAccess(AccessList("", None, frozenset({b"\3xfr\0"})))
    return processor_of(tables_of(ODDITIES), stream=stream, peers=peers, transfers=access, **settings)


def signed(name: str, kind: str = "SOA", key: dns.tsig.Key = KEY, **options: Any) -> dns.message.Message:
    query = dns.message.make_query(name, kind, **options)
    query.use_tsig(key)
    return query


def read(query: dns.message.Message, reply: bytes | None) -> dns.message.Message:
    """Read a reply as the client does, which checks its signature."""
    assert reply is not None
    return dns.message.from_wire(reply, keyring=query.keyring, request_mac=query.mac)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["example.com", "missing.example.com", "elsewhere.net"])
def test_signed_questions_get_signed_answers(stream: bool, name: str) -> None:
    target = processor(stream=stream)
    for edns in (False, 0):
        query = signed(name, use_edns=edns)
        reply = read(query, ask(target, query.to_wire()))
        assert reply.had_tsig
        plain = dns.message.from_wire(ask(target, dns.message.make_query(name, "SOA", use_edns=edns).to_wire()) or b"")
        assert [reply.rcode(), *reply.sections] == [plain.rcode(), *plain.sections]
        assert reply.edns == plain.edns


def test_datagrams_with_their_signature_are_not_too_long() -> None:
    for payload in (512, 700, 750, 800, 850, 900, 1232):
        query = signed("middle.example.com", "TXT", use_edns=0, payload=payload)
        wire = ask(processor(), query.to_wire())
        assert wire is not None
        assert len(wire) <= payload
        reply = read(query, wire)
        assert bool(reply.flags & dns.flags.TC) != bool(reply.answer)


@pytest.mark.parametrize(
    ("key", "error"),
    [("BADSIG", dns.tsig.PeerBadSignature), ("BADKEY", dns.tsig.PeerBadKey), ("BADALG", dns.tsig.PeerBadKey)],
)
def test_what_is_not_signed_rightly_is_refused(key: str, error: type[Exception]) -> None:
    query = signed("example.com", "AXFR", OTHERS[key])
    for stream in (False, True):
        reply = ask(processor(stream=stream), query.to_wire())
        assert reply is not None
        assert reply[3] & 0xF == 9  # NOTAUTH, RFC 8945 §5.2
        with pytest.raises(error):
            read(query, reply)


@pytest.mark.parametrize("off_s", [-301, 301])
def test_another_time_is_told_with_ours(monkeypatch: pytest.MonkeyPatch, off_s: int) -> None:
    monkeypatch.setattr("time.time", lambda: float(NOW + off_s))
    query = signed("example.com")
    wire = query.to_wire()
    with pytest.raises(dns.tsig.PeerBadTime):
        read(query, ask(processor(), wire))


def test_a_server_without_keys_says_that_it_does_not_know_the_key() -> None:
    query = signed("example.com")
    with pytest.raises(dns.tsig.PeerBadKey):
        read(query, ask(processor_of(tables_of(ODDITIES)), query.to_wire()))


def test_only_signed_requests_may_transfer() -> None:
    target = processor(stream=True)
    found = target.respond(signed("example.com", "AXFR").to_wire(), "192.0.2.1", 0.0, NOW)
    assert isinstance(found, TransferRequest)
    assert found.query.signature is not None
    assert found.query.signature.key_name == b"\3xfr\0"
    plain = ask(target, dns.message.make_query("example.com", "AXFR").to_wire())
    assert plain is not None
    assert plain[3] & 0xF == dns.rcode.REFUSED


def test_answers_of_resolvers_are_signed_too() -> None:
    target = processor(stream=True, may_recurse=True)
    query = signed("www.elsewhere.net", "A")
    query.flags |= dns.flags.RD
    wire = query.to_wire()
    assert isinstance(target.respond(wire, "192.0.2.1", 0.0, NOW), Recursion)
    parsed = parse_query(wire)
    assert isinstance(parsed, Query)
    answer = dns.message.make_response(dns.message.from_wire(wire, keyring=KEY))
    answer.tsig = None
    assert read(query, target.sign(parsed, answer.to_wire(), NOW)).had_tsig


def test_a_signature_before_other_records_is_malformed() -> None:
    wire = signed("example.com").to_wire()
    opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
    reply = ask(processor(), wire[:10] + b"\0\2" + wire[12:] + opt)
    assert reply is not None
    assert reply[3] & 0xF == dns.rcode.FORMERR


class TestNotify:
    """RFC 1996."""

    @staticmethod
    def message(name: str = "example.com", *, answer: bool = False, key: dns.tsig.Key | None = None) -> Any:
        notify = dns.message.make_query(name, "SOA")
        notify.set_opcode(dns.opcode.NOTIFY)
        notify.flags = notify.flags & ~dns.flags.RD | dns.flags.AA
        if answer:
            soa = "ns1 host 9 1 1 1 1"
            notify.answer.append(dns.rrset.from_text(name + ".", 0, "IN", "SOA", soa.replace("ns1 host", "a. b.")))
        if key is not None:
            notify.use_tsig(key)
        return notify

    @pytest.mark.parametrize("answer", [False, True])
    @pytest.mark.parametrize("signing", [None, KEY])
    @pytest.mark.parametrize("is_heeded", [False, True])
    def test_it_is_heeded_or_refused(self, answer: bool, signing: dns.tsig.Key | None, is_heeded: bool) -> None:
        heard: list[object] = []

        def notified(*told: object) -> bool:
            heard.append(told)
            return is_heeded

        notify = self.message(answer=answer, key=signing)
        target = processor(peers={"notified": notified})
        reply = read(notify, ask(target, notify.to_wire(), "192.0.2.9"))
        assert heard == [(b"\7example\3com\0", "192.0.2.9", None if signing is None else b"\3xfr\0")]
        assert reply.opcode() == dns.opcode.NOTIFY
        assert reply.rcode() == (dns.rcode.NOERROR if is_heeded else dns.rcode.REFUSED)
        assert bool(reply.flags & dns.flags.AA) == is_heeded
        assert reply.had_tsig == (signing is not None)
