"""Fuzzes transfers that come from a primary (AXFR, IXFR): `make fuzz ARGS="zone_transfer --seconds 60"`.

Oracle: a transfer is refused by a `TransferError`, or gives a zone that can be served: its names are in the zone, it
has one SOA, all questions about it have an answer that other programs can read, and it is transferred again as it is.
"""

from __future__ import annotations

import dns.message

from fuzz.driver import run
from npserver.dns.message import codes
from npserver.dns.message.dnssec import key_tag, nsec3_data, nsec3_hash, nsec3_owner, type_bitmap
from npserver.dns.message.name import parse_owner
from npserver.dns.message.query import Query, make_question, parse_query
from npserver.dns.message.record import parse_data
from npserver.dns.zone.changing import TableChanger
from npserver.dns.zone.compile import Settings, compile_tables
from npserver.dns.zone.content import Content, differences, signature_type, wire_type
from npserver.dns.zone.incoming import Received, TransferError, TransferReader
from npserver.dns.zone.presigned import is_signed, without_proofs
from npserver.dns.zone.responder import Responder
from npserver.dns.zone.signed_responder import secure
from npserver.dns.zone.tables import Tables, ancestors
from npserver.dns.zone.transfer import transfer

APEX = parse_owner("example.com")
WWW, NEW = parse_owner("www.example.com"), parse_owner("x.new.example.com")
IN = b"\0\1"
KEY = bytes((1, 1, 3, 13)) + bytes(64)


def soa(serial: int) -> bytes:
    """Return the data of the SOA."""
    return parse_data(codes.SOA, f"ns.example.com h.example.com {serial} 1 1 1 1")


def signature(rtype: int) -> bytes:
    """Return the data of an RRSIG record."""
    head = rtype.to_bytes(2, "big") + bytes((13, 2)) + (300).to_bytes(4, "big") + bytes(8)
    return head + key_tag(KEY).to_bytes(2, "big") + APEX + bytes(64)


def signed(content: Content, denial: int) -> Content:
    """Return a zone with signatures and proofs, as far as it matters here."""
    found = {name: dict(sets) for name, sets in content.items()}
    bitmap = type_bitmap([codes.A, codes.RRSIG])
    if denial == codes.NSEC3:
        found[APEX][codes.NSEC3PARAM] = (0, (b"\1\0\0\0\0",))
        for name in (APEX, WWW):
            digest = nsec3_hash(name)
            found[nsec3_owner(digest, APEX)] = {codes.NSEC3: (300, (nsec3_data(digest, bitmap),))}
    else:
        for name in content:
            found[name][codes.NSEC] = (300, (APEX + bitmap,))
    found[APEX][codes.DNSKEY] = (300, (KEY,))
    for sets in found.values():
        for rtype in list(sets):
            sets[signature_type(rtype)] = (300, (signature(rtype),))
    return found


PLAIN: Content = {
    APEX: {codes.SOA: (300, (soa(7),)), codes.NS: (300, (parse_data(codes.NS, "ns.example.com"),))},
    WWW: {codes.A: (300, (b"\xc0\0\2\1",)), codes.TXT: (60, (b"\1x",))},
    parse_owner("*.w.example.com"): {codes.MX: (300, (b"\0\5" + WWW,))},
    parse_owner("sub.example.com"): {codes.NS: (300, (parse_owner("ns.sub.example.com"),))},
    parse_owner("ns.sub.example.com"): {codes.A: (300, (b"\xc0\0\2\2",))},
    parse_owner("alias.example.com"): {codes.CNAME: (300, (WWW,))},
}
ZONES = [PLAIN, signed(PLAIN, codes.NSEC), signed(PLAIN, codes.NSEC3)]
REQUESTS = [make_question(7, APEX, codes.AXFR), make_question(7, APEX, codes.IXFR)]


def message(*records: tuple[bytes, int, int, bytes], rtype: int = codes.AXFR) -> bytes:
    """Return one message of a transfer, behind its length."""
    head = b"\0\7\x84\0\0\1" + len(records).to_bytes(2, "big") + bytes(4) + APEX + rtype.to_bytes(2, "big") + IN
    body = b""
    for name, kind, ttl, data in records:
        body += name + wire_type(kind).to_bytes(2, "big") + IN + ttl.to_bytes(4, "big")
        body += len(data).to_bytes(2, "big") + data
    return len(head + body).to_bytes(2, "big") + head + body


def records_of(content: Content) -> list[tuple[bytes, int, int, bytes]]:
    """Return the records of a zone but its SOA."""
    return [
        (name, rtype, ttl, data)
        for name, sets in content.items()
        for rtype, (ttl, all_data) in sets.items()
        for data in all_data
        if rtype != codes.SOA
    ]


def seeds() -> list[bytes]:
    """Return transfers. The first byte is the number of the zone that the secondary has; 255: it has none."""
    found = []
    for number, zone in enumerate(ZONES):
        first, last = (APEX, codes.SOA, 300, soa(7)), (APEX, codes.SOA, 300, soa(9))
        found.append(b"\xff" + message(first, *records_of(zone)) + message(first))
        old = [(WWW, codes.A, 300, b"\xc0\0\2\1"), (WWW, codes.RRSIG, 300, signature(codes.A))][: 1 + (number > 0)]
        new = [(NEW, codes.A, 300, b"\1\2\3\4"), (NEW, codes.RRSIG, 300, signature(codes.A))][: 1 + (number > 0)]
        found.append(bytes((number,)) + message(last, first, *old, last, *new, last, rtype=codes.IXFR))
        found.append(bytes((number,)) + message(last, rtype=codes.IXFR) + message(*records_of(zone), last))
    return found


def target(data: bytes) -> None:
    """One input."""
    base = ZONES[data[0]] if data and data[0] < len(ZONES) else None
    reader = TransferReader(APEX, REQUESTS[base is not None], base, 7 if base is not None else 0)
    at, received = 1, None
    try:
        while at + 2 < len(data) and received is None:
            size = int.from_bytes(data[at : at + 2], "big")
            received = reader.take(data[at + 2 : at + 2 + size])
            at += 2 + size
    except TransferError:
        return
    if received is not None and received.content is not None:
        check(received, base)


def check(received: Received, base: Content | None) -> None:
    """Check that what was received can be served."""
    content = received.content
    assert content is not None
    assert len(content[APEX][codes.SOA][1]) == 1
    assert all(APEX in ancestors(name) for name in content)
    tables = served(content)
    answers = answered(tables, content)
    if base is not None:
        changed = served(base)
        TableChanger(changed).apply(APEX, differences(base, content), content)
        assert answered(changed, content) == answers
    query = parse_query(make_question(7, APEX, codes.AXFR))
    assert isinstance(query, Query)
    reader, again = TransferReader(APEX, query.data), None
    for one in transfer(tables, query):
        again = reader.take(one)
    assert again is not None
    assert again.content is not None
    if not is_signed(content, APEX):
        content = without_proofs(content)  # single signatures are no use
    shown = [{name: as_sets(sets) for name, sets in one.items()} for one in (again.content, content)]
    assert shown[0] == shown[1]


def as_sets(sets: dict[int, tuple[int, tuple[bytes, ...]]]) -> dict[int, tuple[int, set[bytes]]]:
    """Return record sets for comparison."""
    return {rtype: (ttl, set(data)) for rtype, (ttl, data) in sets.items()}


def served(content: Content) -> Tables:
    """Return the tables of a zone."""
    settings = Settings(300, [APEX], elsewhere={APEX: "a primary"}, contents={APEX: content})
    return compile_tables({}, settings, lambda path, text: None)


def answered(tables: Tables, content: Content) -> list[object]:
    """Return the answers to questions, which dnspython reads."""
    responder = Responder(tables, {})
    secure(responder)
    found: list[object] = []
    for name in [*content][:12]:
        for asked in (name, b"\1q" + name):
            if len(asked) > 200:
                continue
            for rtype in (codes.A, codes.TXT, codes.DS, codes.NSEC):
                question = asked + rtype.to_bytes(2, "big") + IN
                for one in {responder, responder.secure}:
                    answer = one.answer(asked, question[-4:], minimal_any=False)
                    assert answer is not None
                    if one is responder.secure:
                        found.append(len(answer.bodies[0]))
                    reply = b"\0\7" + answer.full_heads[0] + question + answer.bodies[0]
                    try:
                        dns.message.from_wire(reply)
                    except dns.exception.DNSException:
                        continue  # data that it does not know as that of their types is passed on as it has come
    return found


if __name__ == "__main__":
    run(target, seeds())
