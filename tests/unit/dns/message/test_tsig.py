"""Signed messages (RFC 8945), with dnspython as the other side: as the client, as the server, and for transfers."""

from __future__ import annotations

import base64
from typing import Any

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.tsig
import dns.tsigkeyring
import dns.update
import pytest

from npserver.dns.message import codes, tsig
from npserver.dns.message.tsig import StreamSigner, StreamVerifier, TsigError, TsigKey, refusal, sign, verify

SECRET = b"0123456789abcdef0123456789abcdef"
NAME = b"\3key\7example\0"
NOW = 1_750_000_000
KEY = TsigKey(NAME, SECRET)
KEYS = {NAME: KEY}
THEIRS = dns.tsig.Key("Key.Example.", SECRET, "hmac-sha256")


@pytest.fixture(autouse=True)
def _same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dns.message.time.time", lambda: NOW)


def their_query(key: dns.tsig.Key = THEIRS) -> dns.message.Message:
    query = dns.message.make_query("www.example.", "TXT")
    query.use_tsig(key)
    return query


def our_query() -> bytes:
    return dns.message.make_query("www.example.", "TXT").to_wire()


def their_reply(signed: bytes, key: dns.tsig.Key = THEIRS, **more: Any) -> bytes:
    query = dns.message.from_wire(signed, keyring=THEIRS)
    reply = dns.message.make_response(query)
    reply.use_tsig(key, **more)
    reply.request_mac = query.mac
    return reply.to_wire()


# ── our side is the client ──


@pytest.mark.parametrize("algorithm", tsig.ALGORITHMS)
def test_a_server_takes_our_signature_and_we_take_its(algorithm: str) -> None:
    key, theirs = TsigKey(NAME, SECRET, algorithm), dns.tsig.Key("key.example.", SECRET, algorithm)
    signed, mac = sign(our_query(), key, NOW)
    query = dns.message.from_wire(signed, keyring=theirs)
    assert query.had_tsig
    assert query.mac == mac
    reply = dns.message.make_response(query)
    wire = reply.to_wire()
    found = verify(wire, {NAME: key}, NOW, request_mac=mac)
    assert found.message(wire)[:2] == signed[:2]
    assert not dns.message.from_wire(found.message(wire)).had_tsig


def test_an_update_is_signed_as_dnspython_signs_it() -> None:
    update = dns.update.UpdateMessage("example.", id=7)
    update.add("a", 60, "TXT", "x")
    plain = update.to_wire()
    update.use_tsig(THEIRS)
    theirs = verify(update.to_wire(), KEYS, NOW)  # with the name of the key compressed
    assert theirs.mac == sign(plain, KEY, NOW)[1]


def test_a_reply_to_another_request_is_refused() -> None:
    signed, _ = sign(our_query(), KEY, NOW)
    with pytest.raises(TsigError, match="signature is wrong"):
        verify(their_reply(signed), KEYS, NOW, request_mac=b"x" * 32)


def test_any_byte_that_was_changed_is_noticed() -> None:
    signed, mac = sign(our_query(), KEY, NOW)
    reply = their_reply(signed)
    verify(reply, KEYS, NOW, request_mac=mac)
    for place in range(2, len(reply)):  # after the id, which a forwarder may change: the record has the original
        changed = bytearray(reply)
        changed[place] ^= 1
        with pytest.raises(ValueError, match=r"."):
            verify(bytes(changed), KEYS, NOW, request_mac=mac)


def test_a_reply_cut_off_anywhere_is_refused() -> None:
    signed, mac = sign(our_query(), KEY, NOW)
    reply = their_reply(signed)
    for size in range(len(reply)):
        with pytest.raises(ValueError, match=r"."):
            verify(reply[:size], KEYS, NOW, request_mac=mac)


@pytest.mark.parametrize("code", [tsig.BADSIG, tsig.BADKEY])
def test_what_a_server_says_without_a_signature(code: int) -> None:
    _, mac = sign(our_query(), KEY, NOW)
    wire = tsig._attach(b"\x12\x34\x80\x09" + bytes(8), NAME, b"\x0bhmac-sha256\0", NOW, b"", code, b"")
    with pytest.raises(TsigError) as failure:
        verify(wire, KEYS, NOW, request_mac=mac)
    assert (failure.value.code, failure.value.is_told, failure.value.server_time_s) == (code, True, None)
    assert str(failure.value) == f"it says {tsig.ERROR_NAMES[code]}"


def test_a_reply_without_a_signature_is_refused() -> None:
    with pytest.raises(TsigError, match="it is not signed") as failure:
        verify(our_query(), KEYS, NOW, request_mac=b"x" * 32)
    assert (failure.value.code, failure.value.is_told) == (0, False)


def test_the_servers_clock_is_told() -> None:
    signed, mac = sign(our_query(), KEY, NOW)
    reply = their_reply(signed, tsig_error=tsig.BADTIME, other_data=(NOW + 900).to_bytes(6, "big"))
    with pytest.raises(TsigError) as failure:
        verify(reply, KEYS, NOW, request_mac=mac)
    assert (failure.value.code, failure.value.is_told, failure.value.server_time_s) == (18, True, NOW + 900)


# ── our side is the server ──


def test_a_query_of_dnspython_is_verified_and_answered() -> None:
    query = their_query()
    wire = query.to_wire()
    found = verify(wire, KEYS, NOW)
    assert (found.name, found.time_s, found.fudge_s, found.error) == (NAME, NOW, 300, 0)
    unsigned = found.message(wire)
    reply = dns.message.make_response(dns.message.from_wire(unsigned)).to_wire()
    signed, _ = sign(reply, KEY, NOW, request_mac=found.mac)
    assert dns.message.from_wire(signed, keyring=THEIRS, request_mac=query.mac).had_tsig


REFUSED = [
    (dns.tsig.Key("other.example.", SECRET, "hmac-sha256"), 0, tsig.BADKEY, dns.tsig.PeerBadKey),
    (dns.tsig.Key("key.example.", SECRET, "hmac-sha512"), 0, tsig.BADKEY, dns.tsig.PeerBadKey),
    (dns.tsig.Key("key.example.", b"wrong", "hmac-sha256"), 0, tsig.BADSIG, dns.tsig.PeerBadSignature),
    (THEIRS, 301, tsig.BADTIME, dns.tsig.PeerBadTime),
    (THEIRS, -301, tsig.BADTIME, dns.tsig.PeerBadTime),
    (dns.tsig.Key("key.example.", SECRET, "hmac-sha256-128"), 0, tsig.BADKEY, dns.tsig.PeerBadKey),
]


@pytest.mark.parametrize(("key", "off_s", "code", "theirs"), REFUSED)
def test_what_is_refused_and_how_a_client_understands_it(
    key: dns.tsig.Key, off_s: int, code: int, theirs: type[Exception]
) -> None:
    query = their_query(key)
    wire = query.to_wire()
    with pytest.raises(TsigError) as failure:
        verify(wire, KEYS, NOW + off_s)
    assert (failure.value.code, failure.value.is_told) == (code, False)
    reply = refusal(wire[:2] + b"\x80\0" + bytes(8), failure.value, KEYS, NOW + off_s)
    assert dns.message.from_wire(reply, ignore_trailing=False, keyring=False).rcode() == dns.rcode.NOTAUTH
    with pytest.raises(theirs):
        dns.message.from_wire(reply, keyring=key, request_mac=query.mac)


def test_a_message_without_a_record_is_refused_without_one() -> None:
    with pytest.raises(ValueError, match="not answered with one"):
        refusal(bytes(12), TsigError("it is not signed"), KEYS, NOW)


def test_a_signature_cut_short_is_told_so_and_one_too_short_is_no_message() -> None:
    plain = our_query()
    _, mac = sign(plain, KEY, NOW)
    for size, code in ((31, tsig.BADTRUNC), (16, tsig.BADTRUNC)):
        with pytest.raises(TsigError) as failure:
            verify(tsig._attach(plain, NAME, b"\x0bhmac-sha256\0", NOW, mac[:size], 0, b""), KEYS, NOW)
        assert failure.value.code == code
        reply = refusal(plain[:2] + b"\x80\0" + bytes(8), failure.value, KEYS, NOW)
        assert reply[-4:-2] == code.to_bytes(2, "big")
    for size in (0, 15, 33):
        short = tsig._attach(plain, NAME, b"\x0bhmac-sha256\0", NOW, (mac + b"x")[:size], 0, b"")
        with pytest.raises(ValueError, match=f"a MAC of {size} bytes"):
            verify(short, KEYS, NOW)


def test_a_record_elsewhere_than_at_the_end_is_no_message() -> None:
    signed, _ = sign(our_query(), KEY, NOW)
    found = tsig.find(signed)
    assert found is not None
    record = signed[found.start :]
    for counts, rest in (
        (b"\0\1\0\0\0\0\0\2", record + record),
        (b"\0\1\0\1\0\0\0\0", record),
        (b"\0\1\0\0\0\0\0\1", record + b"x"),
    ):
        with pytest.raises(ValueError, match="TSIG record"):
            tsig.find(signed[:4] + counts + signed[12 : found.start] + rest)


def test_the_key_does_not_tell_its_secret() -> None:
    assert repr(KEY) == "<TsigKey key.example. hmac-sha256>"
    assert base64.b64encode(SECRET).decode() not in repr([KEY, StreamSigner(KEY, b""), StreamVerifier(KEY, b"")])


# ── streams ──


def replies(count: int) -> list[bytes]:
    return [
        dns.message.make_response(dns.message.make_query(f"{n}.example.", "A", id=5)).to_wire() for n in range(count)
    ]


def test_dnspython_verifies_our_stream() -> None:
    signer, context = StreamSigner(KEY, b"r" * 32), None
    for message in replies(4):
        read = dns.message.from_wire(
            signer.sign(message, NOW),
            keyring=THEIRS,
            request_mac=b"r" * 32,
            xfr=True,
            tsig_ctx=context,
            multi=True,
        )
        assert read.had_tsig
        context = read.tsig_ctx


def their_stream(count: int, *unsigned: int) -> list[bytes]:
    """Messages that dnspython signs, but those with these numbers."""
    context, found = None, []
    for number, plain in enumerate(replies(count)):
        if number in unsigned:
            context.update(plain)  # type: ignore[attr-defined]
            found.append(plain)
            continue
        message = dns.message.from_wire(plain)
        message.use_tsig(THEIRS)
        message.request_mac = b"r" * 32
        found.append(message.to_wire(multi=True, tsig_ctx=context))
        context = message.tsig_ctx
    return found


def test_we_verify_a_stream_of_which_some_messages_are_signed() -> None:
    verifier = StreamVerifier(KEY, b"r" * 32)
    taken = [verifier.take(one, NOW) for one in their_stream(6, 2, 3)]
    verifier.end()
    assert taken == replies(6)


def test_a_stream_that_was_changed_is_refused() -> None:
    stream = their_stream(4, 2)
    for wrong in ([stream[1]], [stream[0], stream[2], stream[3]], [stream[0], stream[0]], stream[2:]):
        verifier = StreamVerifier(KEY, b"r" * 32)
        with pytest.raises(TsigError):
            [verifier.take(one, NOW) for one in wrong]


def test_a_stream_must_be_signed_at_its_ends_and_now_and_then() -> None:
    verifier = StreamVerifier(KEY, b"r" * 32)
    with pytest.raises(TsigError, match="it is not signed"):
        verifier.take(replies(1)[0], NOW)
    signer = StreamSigner(KEY, b"r" * 32)
    for message in (signer.sign(replies(1)[0], NOW), *replies(99)):
        verifier.take(message, NOW)
    with pytest.raises(TsigError, match="the last message is not signed"):
        verifier.end()
    with pytest.raises(TsigError, match="more than 99 messages"):
        verifier.take(replies(1)[0], NOW)


def test_the_class_of_the_record_is_any() -> None:
    signed, _ = sign(our_query(), KEY, NOW)
    found = tsig.find(signed)
    assert found is not None
    at = found.start + len(NAME) + 2
    assert int.from_bytes(signed[at : at + 2], "big") == codes.CLASS_ANY
    with pytest.raises(ValueError, match="malformed TSIG record"):
        tsig.find(signed[:at] + b"\0\1" + signed[at + 2 :])
