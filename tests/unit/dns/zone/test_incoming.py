"""Transfers that are received: ours, which dnspython takes too, and those of primaries that lie or break off.

Covers `dns.message.data_form`.
"""

from __future__ import annotations

import random
from struct import pack

import pytest

from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner
from npserver.dns.zone.content import Content, apply, differences, signature_type, with_serial
from npserver.dns.zone.incoming import Received, TransferError, TransferReader
from npserver.dns.zone.transfer import transfer
from tests.unit.dns.zone.test_transfer import APEX, NAMES, SOA, change, changed, content_of, query_of, tables_of


def normal(content: Content) -> dict[tuple[bytes, int], tuple[int, list[bytes]]]:
    return {(name, rtype): (ttl, sorted(data)) for name, sets in content.items() for rtype, (ttl, data) in sets.items()}


def read(messages: list[bytes], request: bytes, content: Content | None = None, serial: int = 0) -> Received | None:
    reader = TransferReader(APEX, request, content, serial)
    found = None
    for one in messages:
        assert found is None
        found = reader.take(one)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_what_is_received_is_what_was_sent(seed: int) -> None:
    chance = random.Random(seed)
    versions, history = [content_of(1, chance)], []
    for serial in range(2, 7):
        versions.append(changed(versions[-1], serial, chance))
        history.append(change(versions[-2], versions[-1]))
    tables, last = tables_of(versions[-1]), normal(versions[-1])
    query = query_of("AXFR")
    whole = read(list(transfer(tables, query, history)), query.data)
    assert whole is not None
    assert whole.content is not None
    assert (normal(whole.content), whole.serial, whole.is_incremental) == (last, 6, False)
    for serial, version in enumerate(versions[:-1], 1):
        query = query_of("IXFR", serial)
        found = read(list(transfer(tables, query, history)), query.data, version, serial)
        assert found is not None
        assert found.content is not None
        assert (normal(found.content), found.serial, found.is_incremental) == (last, 6, True)
        assert normal(apply(version, differences(version, found.content))) == last
        found = read(list(transfer(tables, query, ())), query.data, version, serial)  # the primary has no history
        assert found is not None
        assert found.content is not None
        assert (normal(found.content), found.is_incremental) == (last, False)


@pytest.mark.parametrize("serial", [7, 6, 8])
def test_one_soa_says_that_there_is_nothing_newer(serial: int) -> None:
    content = with_serial({APEX: {codes.SOA: (300, (SOA,))}}, APEX, 7)
    query = query_of("IXFR", serial)
    reader = TransferReader(APEX, query.data, content, serial)
    found = reader.take(message(query.data, soa(7)))
    assert (found == Received(None, 7)) == (serial != 6)


# ── messages by hand ──

REQUEST = query_of("AXFR").data


def record(rtype: int, data: bytes, owner: bytes = b"\1x" + APEX, ttl: int = 300, rclass: int = 1) -> bytes:
    return owner + pack("!HHIH", rtype, rclass, ttl, len(data)) + data


def soa(serial: int, owner: bytes = APEX, **options: int) -> bytes:
    return record(codes.SOA, SOA[:-20] + serial.to_bytes(4, "big") + SOA[-16:], owner, **options)


def message(request: bytes, *records: bytes, flags: int = 0x8400, asked: bytes | None = None, number: int = 0) -> bytes:
    question = request[12 : 12 + len(APEX) + 4] if asked is None else asked
    head = pack("!HHHHH", flags, 1 if question else 0, len(records), 0, 0)
    return (number.to_bytes(2, "big") if number else request[:2]) + head + question + b"".join(records)


A = record(codes.A, b"abcd")
WRONG = {
    "it sends a message with another id": [message(REQUEST, soa(1), number=1 + int.from_bytes(REQUEST[:2], "big") % 9)],
    "it sends a message that is no reply": [message(REQUEST, soa(1), flags=0x0400)],
    "or is cut short": [message(REQUEST, soa(1), flags=0x8600)],
    "it refuses the transfer (REFUSED)": [message(REQUEST, flags=0x8005)],
    "it refuses the transfer (NOTAUTH)": [message(REQUEST, flags=0x8009)],
    "it answers another question": [message(REQUEST, soa(1), asked=b"\1y" + APEX[2:] + b"x" + b"\0\xfc\0\1")],
    "it sends a message without records": [message(REQUEST, soa(1)), message(REQUEST)],
    "it does not begin with the SOA record": [message(REQUEST, A)],
    "an SOA record of x.example.test.": [message(REQUEST, soa(1, b"\1x" + APEX))],
    "an SOA record of example.": [message(REQUEST, soa(1, parse_owner("example")))],
    "an SOA record in the middle": [message(REQUEST, soa(1), A, soa(2))],
    "a record of class 3": [message(REQUEST, soa(1), record(codes.A, b"abcd", rclass=3))],
    "it sends records after the end": [message(REQUEST, soa(1), A, soa(1), A)],
    "x.example.test. has a CNAME and other records": [
        message(REQUEST, soa(1), A, record(codes.CNAME, NAMES[0]), soa(1))
    ],
    "x.example.test. has several DNAME records": [
        message(REQUEST, soa(1), record(codes.DNAME, NAMES[0]), record(codes.DNAME, NAMES[1]), soa(1))
    ],
    "a CNAME and other records": [
        message(REQUEST, soa(1), record(codes.CNAME, NAMES[0]), record(codes.CNAME, NAMES[1]), soa(1))
    ],
    "more TXT records than a message can hold": [
        message(REQUEST, soa(1), *[record(codes.TXT, b"\xff" + b"%0255d" % n) for n in range(100)]),
        message(REQUEST, *[record(codes.TXT, b"\xff" + b"%0255d" % n) for n in range(100, 240)], soa(1)),
    ],
    "malformed data of a record of type A": [message(REQUEST, soa(1), record(codes.A, b"abc"), soa(1))],
    "malformed data of a record of type AAAA": [message(REQUEST, soa(1), record(codes.AAAA, b"abcd"), soa(1))],
    "malformed data of a record of type TXT": [message(REQUEST, soa(1), record(codes.TXT, b"\x05abc"), soa(1))],
    "malformed data of a record of type MX": [message(REQUEST, soa(1), record(codes.MX, b"\0\1\1a\0xx"), soa(1))],
    "malformed data of a record of type HTTPS": [message(REQUEST, soa(1), record(codes.HTTPS, b"\0\1\5a\0"), soa(1))],
    "malformed data of a record of type SRV": [message(REQUEST, soa(1), record(codes.SRV, bytes(6) + b"\0x"), soa(1))],
    "malformed data of a record of type TYPE41": [message(REQUEST, soa(1), record(codes.OPT, b""))],
    "malformed data of a record of type ANY": [message(REQUEST, soa(1), record(255, b""))],
    "a malformed SOA record": [message(REQUEST, record(codes.SOA, SOA + b"x", APEX))],
    "it sends a malformed message: ": [message(REQUEST, soa(1), A, A)[:-3]],
    "it sends a malformed message: malformed record": [message(REQUEST, soa(1)[:-1])],
}


@pytest.mark.parametrize("expected", WRONG)
def test_what_is_wrong_is_told_and_nothing_is_received(expected: str) -> None:
    with pytest.raises(TransferError, match=".*" + expected.replace("(", r"\(").replace(")", r"\)")):
        read(WRONG[expected], REQUEST)


CONTENT = with_serial({APEX: {codes.SOA: (300, (SOA,))}, b"\1x" + APEX: {codes.A: (300, (b"abcd",))}}, APEX, 5)
IXFR = query_of("IXFR", 5).data
WRONG_CHANGES = {
    "it removes a AAAA record that is not there": [soa(9), soa(5), record(codes.AAAA, bytes(16)), soa(9), soa(9)],
    "it removes a A record that is not there": [soa(9), soa(5), record(codes.A, b"efgh"), soa(9), soa(9)],
    "a serial that is not newer": [soa(9), soa(5), A, soa(5), A, soa(9)],
    "changes are missing between two serials": [soa(9), soa(5), A, soa(7), soa(8), soa(9), soa(9)],
    "it sends records after the end": [soa(9), soa(5), A, soa(9), soa(9), soa(9)],
}


@pytest.mark.parametrize("expected", WRONG_CHANGES)
def test_changes_that_do_not_fit_are_told(expected: str) -> None:
    with pytest.raises(TransferError, match=expected):
        read([message(IXFR, *WRONG_CHANGES[expected])], IXFR, CONTENT, 5)


def test_a_transfer_that_breaks_off_is_none() -> None:
    assert read([message(REQUEST, soa(1), A)], REQUEST) is None
    assert read([message(IXFR, soa(9), soa(5), A, soa(9))], IXFR, CONTENT, 5) is None
    assert CONTENT[b"\1x" + APEX] == {codes.A: (300, (b"abcd",))}


def test_records_one_in_a_message_and_without_questions_are_taken() -> None:
    records = [soa(9), soa(5), A, soa(7), record(codes.A, b"efgh"), soa(7), soa(9), record(codes.TXT, b"\1x"), soa(9)]
    found = read([message(IXFR, records[0]), *[message(IXFR, one, asked=b"") for one in records[1:]]], IXFR, CONTENT, 5)
    assert found is not None
    assert found.content is not None
    assert found.content[b"\1x" + APEX] == {codes.A: (300, (b"efgh",)), codes.TXT: (300, (b"\1x",))}


def test_names_outside_the_zone_are_left_out() -> None:
    others = [parse_owner(name) for name in ("www.example.org", "test", "notexample.test")]
    records = [record(codes.A, b"abcd", one) for one in others]
    found = read([message(REQUEST, soa(1), *records, A, soa(1))], REQUEST)
    assert found is not None
    assert found.content is not None
    assert sorted(found.content) == [b"\1x" + APEX, APEX]
    assert found.left_out == ("3 records outside the zone",)


def rrsig(rtype: int, ttl: int = 300) -> bytes:
    return pack("!HBBIIIH", rtype, 13, 2, ttl, 2, 1, 7) + APEX + b"signature"


def test_signatures_are_kept_by_the_type_that_they_cover() -> None:
    signatures = [record(codes.RRSIG, rrsig(one)) for one in (codes.A, codes.TXT)]
    proof = record(codes.NSEC, APEX + b"\0\1\x40")
    found = read([message(REQUEST, soa(1), A, *signatures, proof, soa(1))], REQUEST)
    assert found is not None
    assert found.content is not None
    name = b"\1x" + APEX
    assert found.content[name].keys() == {codes.A, codes.NSEC, signature_type(codes.A), signature_type(codes.TXT)}
    changes = [soa(9), soa(1), signatures[1], soa(9), record(codes.RRSIG, rrsig(codes.AAAA)), soa(9)]
    later = read([message(IXFR, *changes)], IXFR, found.content, 1)
    assert later is not None
    assert later.content is not None
    wanted = {codes.A, codes.NSEC, signature_type(codes.A), signature_type(codes.AAAA)}
    assert later.content[name].keys() == wanted


@pytest.mark.parametrize(
    ("rtype", "data"),
    [
        (codes.RRSIG, bytes(18)),
        (codes.RRSIG, rrsig(1)[: -len(b"signature")]),
        (codes.RRSIG, bytes(18) + b"\3ab"),
        (codes.NSEC, b""),
        (codes.NSEC, APEX + b"\0"),
        (codes.NSEC, APEX + b"\0\0"),
        (codes.NSEC, APEX + b"\0\2\1"),
        (codes.NSEC, APEX + b"\1\1\1\0\1\1"),
        (codes.NSEC, APEX + b"\0\x21" + bytes(33)),
        (codes.NSEC3, b""),
        (codes.NSEC3, b"\2\0\0\0\0\x14" + bytes(20)),
        (codes.NSEC3, b"\1\0\0\0\xff\x14" + bytes(20)),
        (codes.NSEC3, b"\1\0\0\0\0\x13" + bytes(20)),
        (codes.NSEC3, b"\1\0\0\0\0\x14" + bytes(19)),
        (codes.NSEC3PARAM, b"\1\0\0\0"),
        (codes.NSEC3PARAM, b"\1\0\0\0\1"),
        (codes.DNSKEY, b"\1\0\3\x0d"),
    ],
)
def test_records_of_dnssec_have_their_form(rtype: int, data: bytes) -> None:
    with pytest.raises(TransferError, match="malformed"):
        read([message(REQUEST, soa(1), record(rtype, data), soa(1))], REQUEST)


def test_hashes_that_cost_too_much_are_refused() -> None:
    signature = record(codes.RRSIG, rrsig(codes.SOA), APEX)
    for iterations in (500, 501):
        parameters = record(codes.NSEC3PARAM, pack("!BBHB", 1, 0, iterations, 0), APEX)
        whole = [message(REQUEST, soa(1), signature, parameters, soa(1))]
        if iterations == 500:
            assert read(whole, REQUEST) is not None
        else:
            with pytest.raises(TransferError, match="501 iterations: at most 500"):
                read(whole, REQUEST)


def test_an_endless_transfer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("npserver.dns.zone.incoming.MAX_RECORDS", 1000)
    with pytest.raises(TransferError, match="more than 1000 records"):
        read([message(REQUEST, soa(1)), *[message(REQUEST, *[A] * 10)] * 1000], REQUEST)
    monkeypatch.setattr("npserver.dns.zone.incoming.MAX_BYTES", 1000)
    with pytest.raises(TransferError, match="more than 1000 bytes"):
        read([message(REQUEST, soa(1)), *[message(REQUEST, *[A] * 10)] * 1000], REQUEST)


def test_a_name_that_only_ends_in_the_bytes_of_the_apex_is_outside() -> None:
    odd = bytes((len(APEX),)) + b"x" + APEX[:-1] + b"\0"  # a label that has the apex in it
    found = read([message(REQUEST, soa(1), record(codes.A, b"abcd", odd), soa(1))], REQUEST)
    assert found is not None
    assert list(found.content or ()) == [APEX]
