"""AXFR and IXFR as dnspython takes them: the zone that a client has after a transfer is ours, record by record."""

from __future__ import annotations

import random
from collections import deque

import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.tsig
import dns.xfr
import dns.zone
import pytest

from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner, to_text
from npserver.dns.message.query import Query, parse_query
from npserver.dns.message.record import parse_data
from npserver.dns.message.tsig import StreamSigner, TsigKey
from npserver.dns.zone.compile import Settings, compile_tables
from npserver.dns.zone.content import Content, ZoneChange, differences, with_serial
from npserver.dns.zone.tables import Tables
from npserver.dns.zone.transfer import condense, incremental_datagram, transfer

APEX, ORIGIN = parse_owner("example.test"), dns.name.from_text("example.test")
SOA = parse_data(codes.SOA, "ns.example.test host.example.test 7 3600 600 604800 300")
NAMES = [parse_owner(f"{label}.example.test") for label in ("a", "b", "x.a", "*.a", "c.d.e", "Very-Long-Label" * 4)]


def content_of(serial: int, chance: random.Random, names: int = 40) -> Content:
    found: Content = {APEX: {codes.SOA: (300, (SOA,)), codes.NS: (300, (NAMES[0],))}}
    for number in range(chance.randrange(names // 2, names)):
        name = bytes((4,)) + b"h%03d" % number + APEX
        data = {chance.randbytes(4) for _ in range(chance.randrange(1, 5))}
        found[name] = {codes.A: (chance.choice((60, 300)), tuple(data))}
        if chance.random() < 0.3:
            found[name][codes.MX] = (300, (b"\0\5" + NAMES[1], b"\0\6" + NAMES[2]))
    return with_serial(found, APEX, serial)


def changed(content: Content, serial: int, chance: random.Random) -> Content:
    """A content with a few changes: records that come, go, and get another TTL."""
    found = {name: dict(sets) for name, sets in content.items()}
    for _ in range(5):
        name = bytes((4,)) + b"h%03d" % chance.randrange(60) + APEX
        sets = found.setdefault(name, {})
        match chance.randrange(4):
            case 0:
                sets.pop(codes.MX, None)
            case 1:
                sets[codes.A] = (300, (chance.randbytes(4), *sets.get(codes.A, (0, ()))[1]))
            case 2 if codes.A in sets:
                sets[codes.A] = (chance.randrange(1000), sets[codes.A][1])
            case _:
                sets[codes.TXT] = (300, (b"\3" + chance.randbytes(3),))
        if not sets:
            del found[name]
    return with_serial(found, APEX, serial)


def change(before: Content, after: Content) -> ZoneChange:
    serials = [int.from_bytes(one[APEX][codes.SOA][1][0][-20:-16], "big") for one in (before, after)]
    return ZoneChange(serials[0], serials[1], differences(before, after))


def tables_of(content: Content) -> Tables:
    return compile_tables({}, Settings(300, [APEX], contents={APEX: content}), lambda path, message: None)


def zone_of(content: Content) -> dns.zone.Zone:
    lines = [
        f"{to_text(name)} {ttl} IN TYPE{rtype} \\# {len(one)} {one.hex()}"
        for name, sets in content.items()
        for rtype, (ttl, data) in sets.items()
        for one in data
    ]
    return dns.zone.from_text("\n".join(lines), ORIGIN, relativize=False, check_origin=False)


def records(zone: dns.zone.Zone) -> list[str]:
    return sorted(f"{name} {ttl} {rdata.rdtype.name} {rdata}".lower() for name, ttl, rdata in zone.iterate_rdatas())


def query_of(kind: str, serial: int | None = None, **options: object) -> Query:
    message = dns.message.make_query(ORIGIN, kind, **options)  # type: ignore[arg-type]
    if serial is not None:
        text = f"example.test. 0 IN SOA . . {serial} 0 0 0 0"
        message.authority = [dns.rrset.from_text(ORIGIN, 0, "IN", "SOA", text.split("SOA ")[1])]
    found = parse_query(message.to_wire())
    assert isinstance(found, Query)
    return found


def receive(zone: dns.zone.Zone, messages: list[bytes], serial: int | None, *, udp: bool = False) -> bool:
    """Have dnspython take the messages into its zone; return whether it says that the transfer is over."""
    rtype = dns.rdatatype.AXFR if serial is None else dns.rdatatype.IXFR
    is_done = False
    with dns.xfr.Inbound(zone, rtype, serial, udp) as inbound:
        for wire in messages:
            assert not is_done, "messages after the end"
            is_done = inbound.process_message(dns.message.from_wire(wire, xfr=True, one_rr_per_rrset=True))
    return is_done


@pytest.mark.parametrize("seed", range(6))
def test_a_client_of_any_former_version_ends_with_the_zone(seed: int) -> None:
    chance = random.Random(seed)
    versions, history = [content_of(1, chance)], deque[ZoneChange]()
    for serial in range(2, 7):
        versions.append(changed(versions[-1], serial, chance))
        history.append(change(versions[-2], versions[-1]))
    tables, expected = tables_of(versions[-1]), records(zone_of(versions[-1]))
    for serial, version in enumerate(versions, 1):
        zone = zone_of(version)
        messages = list(transfer(tables, query_of("IXFR", serial), history))
        assert receive(zone, messages, serial)
        assert records(zone) == expected
        datagram = incremental_datagram(tables, query_of("IXFR", serial), history, 65_000)
        zone = zone_of(version)
        assert receive(zone, [datagram], serial, udp=True)
        assert records(zone) == expected
    whole = dns.zone.Zone(ORIGIN, relativize=False)
    assert receive(whole, list(transfer(tables, query_of("AXFR"), history)), None)
    assert records(whole) == expected


def answer_of(wire: bytes) -> list[dns.rrset.RRset]:
    return dns.message.from_wire(wire, xfr=True, one_rr_per_rrset=True).answer


@pytest.mark.parametrize("serial", [7, 8, 7 + (1 << 31) - 1])
def test_a_client_that_is_up_to_date_is_sent_one_soa(serial: int) -> None:
    tables = tables_of(with_serial({APEX: {codes.SOA: (300, (SOA,))}, NAMES[0]: {codes.A: (1, (b"abcd",))}}, APEX, 7))
    for messages in (
        list(transfer(tables, query_of("IXFR", serial))),
        [incremental_datagram(tables, query_of("IXFR", serial), (), 512)],
    ):
        assert [len(answer_of(one)) for one in messages] == [1]
        assert answer_of(messages[0])[0].rdtype == dns.rdatatype.SOA


def test_a_serial_that_is_not_known_gets_the_whole_zone_and_over_udp_the_soa() -> None:
    chance = random.Random(1)
    first = content_of(5, chance)
    second = changed(first, 6, chance)
    tables, history = tables_of(second), [change(first, second)]
    messages = list(transfer(tables, query_of("IXFR", 4), history))
    assert answer_of(messages[0])[1].rdtype != dns.rdatatype.SOA
    zone = zone_of(first)
    assert receive(zone, messages, 4)
    assert records(zone) == records(zone_of(second))
    assert len(answer_of(incremental_datagram(tables, query_of("IXFR", 4), history, 65_000))) == 1


def test_differences_larger_than_the_zone_are_not_sent() -> None:
    chance = random.Random(2)
    first, second = content_of(5, chance), with_serial({APEX: content_of(1, chance)[APEX]}, APEX, 6)
    messages = list(transfer(tables_of(second), query_of("IXFR", 5), [change(first, second)]))
    assert [len(answer_of(one)) for one in messages] == [3]  # SOA, NS, SOA


def test_differences_that_no_datagram_holds_are_left_to_tcp() -> None:
    chance = random.Random(3)
    first = content_of(5, chance)
    second = changed(first, 6, chance)
    tables, history = tables_of(second), [change(first, second)]
    sizes = [len(incremental_datagram(tables, query_of("IXFR", 5), history, limit)) for limit in (300, 2000)]
    assert sizes[0] < 120 < sizes[1] <= 2000
    for limit in range(200, 1000, 7):
        assert len(incremental_datagram(tables, query_of("IXFR", 5), history, limit)) <= limit


def test_an_ixfr_without_a_serial_is_malformed() -> None:
    tables = tables_of(content_of(1, random.Random(1)))
    for wire in (*transfer(tables, query_of("IXFR")), incremental_datagram(tables, query_of("IXFR"), (), 512)):
        assert wire[3] & 0xF == codes.FORMERR


def test_messages_are_as_few_as_hold_the_records() -> None:
    content: Content = {APEX: {codes.SOA: (300, (SOA,))}}
    for number in range(1500):
        content[bytes((6,)) + b"%06d" % number + APEX] = {codes.TXT: (300, (bytes((99,)) + b"x" * 99,))}
    content[NAMES[0]] = {codes.TXT: (300, tuple(bytes((250,)) + b"%0250d" % number for number in range(230)))}
    query = query_of("AXFR", use_edns=0, payload=1232)
    messages = list(transfer(tables_of(content), query))
    assert [len(one) > 65_200 for one in messages[:-1]] == [True] * (len(messages) - 1)
    assert all(len(one) <= 65_535 for one in messages)
    assert all(dns.message.from_wire(one, xfr=True).edns == 0 for one in messages)
    zone = dns.zone.Zone(ORIGIN, relativize=False)
    assert receive(zone, messages, None)
    assert records(zone) == records(zone_of(content))


@pytest.mark.parametrize("algorithm", ["hmac-sha256", "hmac-sha512"])
def test_signed_messages_are_not_too_long_either(algorithm: str) -> None:
    key = TsigKey(b"\3xfr\0", b"s" * 32, algorithm)
    content: Content = {APEX: {codes.SOA: (300, (SOA,))}}
    for number in range(65_535 // 3):
        content[bytes((6,)) + b"%06d" % number + APEX] = {codes.A: (300, (b"abcd",))}
    query = query_of("AXFR")
    signer = query.signature = StreamSigner(key, b"m" * 32)
    plain = list(transfer(tables_of(content), query))
    assert len(plain) > 5
    signed = [signer.sign(one, 1_700_000_000) for one in plain]
    assert {len(one) + signer.size for one in plain} == {len(one) for one in signed}
    assert max(map(len, signed)) <= 65_535


def test_the_zone_that_is_sent_is_that_of_one_moment() -> None:
    content: Content = {APEX: {codes.SOA: (300, (SOA,))}}
    for number in range(2500):
        content[bytes((6,)) + b"%06d" % number + APEX] = {codes.A: (300, (b"abcd",))}
    tables = tables_of(content)
    messages = transfer(tables, query_of("AXFR"))
    first = next(messages)
    for node in list(tables.nodes.values())[1:]:
        node.sets = {}
    tables.zones[APEX].set_serial(9)
    zone = dns.zone.Zone(ORIGIN, relativize=False)
    assert receive(zone, [first, *messages], None)
    assert records(zone) == records(zone_of(content))


def test_what_comes_and_goes_is_not_told() -> None:
    one = content_of(1, random.Random(1))
    two = with_serial({**one, NAMES[3]: {codes.A: (1, (b"abcd",))}}, APEX, 2)
    three = with_serial(one, APEX, 3)
    assert [one.rtype for one in condense([change(one, two), change(two, three)])] == [codes.SOA]


@pytest.mark.parametrize("asked", ["example.test", "eXample.TEST"])
def test_names_in_data_keep_their_case_rfc_5936_3_4(asked: str) -> None:
    origins = ("example.test", "Example.Test", "EXAMPLE.test")
    spelled = [f"{host}.{origin}." for origin in origins for host in ("a", "Ns")]
    names = tuple(dns.name.from_text(one).to_wire() or b"" for one in spelled)
    tables = tables_of(with_serial({APEX: {codes.SOA: (300, (SOA,)), codes.NS: (300, names)}}, APEX, 7))
    found = parse_query(dns.message.make_query(asked, "AXFR").to_wire())
    assert isinstance(found, Query)
    (reply,) = transfer(tables, found)
    shown = [str(one[0].target) for one in answer_of(reply) if one.rdtype == dns.rdatatype.NS]
    assert shown == spelled
