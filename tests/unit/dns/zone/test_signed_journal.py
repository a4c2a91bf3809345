"""Incremental transfers of zones that are signed here: they lead to the zone that a whole transfer has."""

from __future__ import annotations

import random
from typing import Any

import dns.message
import dns.rrset
import pytest

from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner
from npserver.dns.message.query import Query, parse_query
from npserver.dns.zone.added_texts import AddedTexts
from npserver.dns.zone.changing import TableChanger
from npserver.dns.zone.content import Content, SetChange, serial_of
from npserver.dns.zone.incoming import Received, TransferReader
from npserver.dns.zone.signed_journal import SETTLED_S
from npserver.dns.zone.signing import Signatures, ZoneSigning
from npserver.dns.zone.tables import RecordSet, Tables
from npserver.dns.zone.transfer import incremental_datagram, transfer
from npserver.nameserver.dnssec.rollover import begin
from npserver.nameserver.dnssec.state import ZoneState, first_state, zone_keys
from tests.stage.nameserver import tables_of
from tests.stage.signing import NOW

APEX = parse_owner("example.com")
RECORDS: dict[str, Any] = {
    "example.com": {"NS": "ns.elsewhere.net", "SOA": "ns. host. 5 3600 600 604800 300"},
    "www.example.com": {"A": "192.0.2.1"},
    "a.b.example.com": {"TXT": "x"},
    "*.wild.example.com": {"A": "192.0.2.7", "TXT": "w"},
    **{f"n{number}.example.com": {"TXT": str(number)} for number in range(40)},
}
LABELS = ["www", "b", "a.b", "c.b", "d.a.b", "wild", "*.wild", "x.wild", "sub", "q.sub", "n1", "n2", "x.n3", "zz"]
SETS: dict[int, list[RecordSet]] = {
    codes.A: [(300, (b"\1\2\3\4",)), (60, (b"\1\2\3\4",)), (300, (b"\1\2\3\4", b"\4\3\2\1"))],
    codes.TXT: [(300, (b"\1x",)), (300, (b"\1y", b"\1x"))],
    codes.NS: [(300, (b"\2ns\x09elsewhere\3net\0",))],
    codes.DS: [(300, (bytes((1, 2, 13, 2)) + bytes(32),))],
}


class Zone:
    """A signed zone that changes, and what secondaries have had of it."""

    def __init__(self, denial: str, records: dict[str, Any] = RECORDS, keys: str = "ksk-zsk") -> None:
        self.clock = 0.0
        self.tables: Tables = tables_of(records)
        self.state: ZoneState = first_state(keys, 15, NOW)
        self.day = 20_000
        self.zone = self.tables.zones[APEX]
        self.signing = ZoneSigning(
            self.tables, self.zone, zone_keys(APEX, self.state), Signatures(), denial=denial, life_days=14,
            clock=lambda: self.clock,
        )  # fmt: skip
        self.zone.signing = self.signing
        self.signing.use(self.signing.keys, self.day)
        self.changer = TableChanger(self.tables)
        self.had: list[Content] = []

    def request(self, serial: int | None) -> Query:
        query = dns.message.make_query("example.com", "AXFR" if serial is None else "IXFR")
        if serial is not None:
            query.authority.append(dns.rrset.from_text("example.com.", 300, "IN", "SOA", f"a. b. {serial} 1 1 1 1"))
        found = parse_query(query.to_wire())
        assert isinstance(found, Query)
        return found

    def send(self, content: Content | None = None) -> Received:
        """Return what a secondary receives that has this content."""
        serial = None if content is None else serial_of(content, APEX)
        query = self.request(serial)
        reader, found = TransferReader(APEX, query.data, content, serial or 0), None
        for message in transfer(self.tables, query):
            assert found is None
            found = reader.take(message)
        assert found is not None
        return found

    def change(self, *sets: tuple[str, int, RecordSet | None]) -> None:
        """Change record sets, with the next serial."""
        self.clock += SETTLED_S + 1
        changes = []
        for name, rtype, after in sets:
            key = parse_owner(f"{name}.example.com")
            node = self.tables.nodes.get(key)
            changes.append(SetChange(key, rtype, node.sets.get(rtype) if node else None, after))
        ttl, (soa,) = self.zone.soa
        newer = ttl, (soa[:-20] + (self.zone.serial + 1).to_bytes(4, "big") + soa[-16:],)
        self.changer.apply(APEX, [*changes, SetChange(APEX, codes.SOA, (ttl, (soa,)), newer)], {})
        self.signing.sign_apex()

    def sign(self, state: ZoneState | None = None, days: int = 0) -> None:
        """Go on to other keys, or another day."""
        self.clock += SETTLED_S + 1
        self.state, self.day = state or self.state, self.day + days
        keys = zone_keys(APEX, self.state) if state is not None else self.signing.keys
        self.signing.use(keys, self.day)

    def keep(self) -> None:
        """Let a secondary have the zone as it is."""
        content = self.send().content
        assert content is not None
        self.had.append(content)


def normal(content: Content | None) -> dict[tuple[bytes, int], tuple[int, list[bytes]]]:
    assert content is not None
    return {(name, rtype): (ttl, sorted(data)) for name, sets in content.items() for rtype, (ttl, data) in sets.items()}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("denial", ["nsec", "nsec3"])
def test_changes_lead_to_the_zone_that_is_sent_whole(denial: str, seed: int) -> None:
    chance, zone, incremental = random.Random(seed), Zone(denial), 0
    zone.keep()
    for _ in range(25):
        kind = chance.random()
        if kind < 0.75:
            types = chance.choices([codes.A, codes.A, codes.TXT, codes.NS, codes.DS], k=chance.choice([1, 1, 2, 4]))
            zone.change(
                *[(chance.choice(LABELS), rtype, chance.choice([None, *SETS[rtype]])) for rtype in dict.fromkeys(types)]
            )
        elif kind < 0.9:
            zone.sign(days=1)
        else:
            zone.sign(begin(zone.state, "ksk"))
        wanted = normal(zone.send().content)
        for content in zone.had[-8:]:
            found = zone.send(content)
            assert normal(found.content or content) == wanted
            incremental += found.is_incremental
        zone.keep()
    assert incremental > 60


def changed(zone: Zone) -> Received:
    before = zone.had[-1]
    found = zone.send(before)
    assert normal(found.content) == normal(zone.send().content)
    return found


def test_renewed_signatures_are_sent_alone() -> None:
    zone = Zone("nsec")
    zone.keep()
    zone.sign(days=1)
    assert changed(zone).is_incremental
    for _ in range(2):
        zone.sign(days=1)
    assert not changed(zone).is_incremental  # most of the signatures are others by then


def test_a_new_signer_of_the_records_makes_another_zone() -> None:
    zone = Zone("nsec")
    zone.keep()
    zone.sign(begin(zone.state, "zsk"))
    assert changed(zone).is_incremental  # its DNSKEY record alone
    zone.keep()
    new = zone.state.keys[-1]
    zone.sign(zone.state.with_changed(new, signs_from=NOW))
    assert not changed(zone).is_incremental


def test_a_serial_that_other_processes_may_have_had_otherwise_is_not_known() -> None:
    zone = Zone("nsec")
    zone.keep()
    zone.change(("www", codes.A, None))
    zone.keep()
    zone.clock -= SETTLED_S
    zone.sign(days=1)
    assert not changed(zone).is_incremental
    zone.had.pop()
    assert changed(zone).is_incremental  # from the serial before it is


@pytest.mark.parametrize("name", ["_acme-challenge.www.example.com", "www.example.com"])
def test_what_changes_without_a_serial_is_sent_with_the_whole_zone(name: str) -> None:
    zone = Zone("nsec")
    texts = AddedTexts(zone.tables)
    texts.replace({name: ["one"]})
    zone.keep()  # with the text
    zone.change(("zz", codes.A, SETS[codes.A][0]))
    texts.replace({})
    zone.change(("zz", codes.A, None))
    assert not changed(zone).is_incremental
    zone.keep()
    zone.change(("zz", codes.A, SETS[codes.A][0]))
    assert changed(zone).is_incremental


def test_serials_that_are_set_otherwise_are_not_followed() -> None:
    zone = Zone("nsec")
    zone.keep()
    zone.zone.set_serial(17)
    assert not changed(zone).is_incremental
    zone.change(("zz", codes.A, SETS[codes.A][0]))
    assert not changed(zone).is_incremental


def test_another_ttl_of_proofs_makes_another_zone() -> None:
    zone = Zone("nsec")
    zone.keep()
    ttl, (soa,) = zone.zone.soa
    zone.zone.soa = ttl, (soa[:-1] + b"\7",)
    zone.change(("zz", codes.A, SETS[codes.A][0]))
    assert not changed(zone).is_incremental


def test_zones_below_that_are_ours_change_the_zone_above() -> None:
    zone = Zone("nsec", {**RECORDS, "sub.example.com": {"SOA": "ns. host. 5 1 1 1 1", "NS": "ns.elsewhere.net"}})
    zone.keep()
    zone.change(("zz", codes.A, SETS[codes.A][0]))
    assert not changed(zone).is_incremental


def test_over_udp_the_client_is_sent_to_tcp() -> None:
    zone = Zone("nsec")
    zone.keep()
    zone.change(("zz", codes.A, SETS[codes.A][0]))
    request = zone.request(serial_of(zone.had[0], APEX))
    reply = dns.message.from_wire(incremental_datagram(zone.tables, request, (), 1232), one_rr_per_rrset=True)
    assert len(reply.answer) == 1


@pytest.mark.parametrize(("rtype", "count"), [(codes.A, 1001), (codes.NS, 21)])
def test_a_change_of_most_of_the_zone_is_sent_whole(rtype: int, count: int) -> None:
    zone = Zone("nsec3")
    zone.keep()
    zone.change(*[(f"new{number}", rtype, SETS[rtype][0]) for number in range(count)])
    assert not changed(zone).is_incremental
    zone.keep()
    zone.change(("zz", codes.A, SETS[codes.A][0]))
    assert changed(zone).is_incremental


def test_the_journal_is_bounded() -> None:
    zone = Zone("nsec")
    zone.keep()
    for number in range(600):
        zone.change(("zz", codes.A, (300, (number.to_bytes(4, "big"),))))
        if number == 100:
            zone.keep()
    assert not zone.send(zone.had[0]).is_incremental
    assert not changed(zone).is_incremental
    zone.keep()
    zone.change(("zz", codes.A, None))
    assert changed(zone).is_incremental
