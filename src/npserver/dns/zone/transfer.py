"""Zone transfers to secondary servers: the messages of AXFR (RFC 5936) and IXFR (RFC 1995).

An IXFR is answered by the differences from the serial that the client has, all in one sequence (RFC 1995 §5), or by the
whole zone if they are not known, or larger than it. Over UDP the differences are sent if one message holds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain as chained
from struct import pack

from npserver.dns.message import codes
from npserver.dns.message.edns import OPT_REPLIES
from npserver.dns.message.header import AA, HEADER_BYTES, MAX_MESSAGE_BYTES, QR, RD
from npserver.dns.message.query import Query
from npserver.dns.message.sections import AUTHORITY, read_records
from npserver.dns.zone.answer import BodyWriter
from npserver.dns.zone.content import SetChange, ZoneChange, chain, is_newer, set_size, wire_type
from npserver.dns.zone.lookup import Records
from npserver.dns.zone.presigned import PresignedZone
from npserver.dns.zone.signed_transfer import signed_difference, signed_records
from npserver.dns.zone.signing import ZoneSigning
from npserver.dns.zone.tables import RecordSet, RecordSets, Tables, Zone, soa_serial

_SIGNED_MESSAGE_BYTES = 16_384  # of one message of a signed zone: its signatures take some milliseconds
_RECORD_BYTES = 12  # of a record besides its name and its data, at most


def transfer(tables: Tables, query: Query, history: Sequence[ZoneChange] = ()) -> Iterator[bytes]:
    """Return the messages that answer AXFR or IXFR, without length prefixes and signatures.

    `history`: the changes that have led to the zone, the oldest first. The zone may change while the messages are made:
    they are of the zone as it is now. If the name asked for is not an apex, the only message is a reply with NOTAUTH.
    """
    zone = tables.zones.get(query.key)
    if zone is None or not zone.is_served:  # RFC 5936 §2.2.1
        return iter([_error(query, codes.NOTAUTH if zone is None else codes.SERVFAIL)])
    limit = _SIGNED_MESSAGE_BYTES if isinstance(zone.signing, ZoneSigning) else MAX_MESSAGE_BYTES
    if query.qtype == codes.IXFR:
        try:
            serial = client_serial(query)
        except ValueError:
            return iter([_error(query, codes.FORMERR)])
        if (found := _differences(tables, zone, serial, history)) is not None:
            return _messages(query, found, limit)
    return _messages(query, _records(tables, zone), limit)


def incremental_datagram(tables: Tables, query: Query, history: Sequence[ZoneChange], limit: int) -> bytes:
    """Return the message that answers IXFR over UDP.

    It is the SOA alone if the differences do not fit, or are not known: the client asks again over TCP (RFC 1995 §2).
    `limit`: of the message in bytes, with its signature.
    """
    zone = tables.zones.get(query.key)
    if zone is None or not zone.is_served:
        return _error(query, codes.NOTAUTH if zone is None else codes.SERVFAIL)
    try:
        serial = client_serial(query)
    except ValueError:
        return _error(query, codes.FORMERR)
    # signatures of many records take longer than a datagram is worth
    is_long = isinstance(zone.signing, ZoneSigning)
    found = None if is_long else _differences(tables, zone, serial, history)
    if found is not None:
        messages = _messages(query, found, limit)
        only = next(messages)
        if len(only) + _signature_bytes(query) <= limit and next(messages, None) is None:
            return only
    return next(_messages(query, iter([Records(zone.key, codes.SOA, *zone.soa)]), limit))


def client_serial(query: Query) -> int:
    """Return the serial that the client of an IXFR has (RFC 1995 §3). Raises: ValueError."""
    for one in read_records(query.data):
        if one.section == AUTHORITY and one.rtype == codes.SOA and len(one.data) >= 22:
            return soa_serial(one.data)
    raise ValueError("an IXFR without an SOA record")


def condense(changes: Iterable[ZoneChange]) -> list[SetChange]:
    """Return what becomes of each record set by several changes in order; those that end as they began are left out."""
    found: dict[tuple[bytes, int], SetChange] = {}
    for change in changes:
        for one in change.sets:
            place = one.name, one.rtype
            earlier = found.get(place)
            before = one.before if earlier is None else earlier.before
            found[place] = SetChange(one.name, one.rtype, before, one.after)
    return [one for one in found.values() if one.before != one.after]


def _differences(tables: Tables, zone: Zone, serial: int, history: Sequence[ZoneChange]) -> Iterator[Records] | None:
    """Return the records of an incremental transfer; None if the whole zone is to be sent."""
    ours = zone.shown_serial
    soa = Records(zone.key, codes.SOA, *zone.soa)
    if serial == ours or is_newer(serial, ours):
        return iter([soa])  # RFC 1995 §2: there is nothing newer
    if isinstance(zone.signing, ZoneSigning):
        return signed_difference(tables, zone, zone.signing, serial)
    changes = list(chain(history, serial) or ())
    if not changes or changes[-1].to_serial != ours:
        return None
    condensed = condense(changes)
    size = sum([set_size(one.before) + set_size(one.after) for one in condensed])
    if _is_smaller(tables, zone, size):
        return None
    old = next((one.before for one in condensed if one.rtype == codes.SOA and one.name == zone.key), None)
    return None if old is None else _sequence(zone.key, old, soa, condensed)


def _sequence(apex: bytes, old: RecordSet, soa: Records, changes: Sequence[SetChange]) -> Iterator[Records]:
    """Yield the records of one difference sequence, with the SOA that begins and ends the transfer (RFC 1995 §4)."""
    plain = [one for one in changes if one.rtype != codes.SOA or one.name != apex]
    yield soa
    yield Records(apex, codes.SOA, *old)
    for one in plain:
        if one.before is not None:
            yield Records(one.name, wire_type(one.rtype), one.before[0], _without(one.before, one.after))
    yield soa
    for one in plain:
        if one.after is not None:
            yield Records(one.name, wire_type(one.rtype), one.after[0], _without(one.after, one.before))
    yield soa


def _without(records: RecordSet, others: RecordSet | None) -> tuple[bytes, ...]:
    """Return the data of the records that are not among others; all, if those have another TTL."""
    if others is None or others[0] != records[0]:
        return records[1]
    known = set(others[1])
    return tuple([one for one in records[1] if one not in known])


def _is_smaller(tables: Tables, zone: Zone, size: int) -> bool:
    """Whether the records of a zone take less than `size` bytes; looked at are only as many as it takes to say so."""
    total = 0
    for _, sets in _sets_of(tables, zone):
        total += sum([set_size(one) for one in sets.values()])
        if total >= size:
            return False
    return True


def _sets_of(tables: Tables, zone: Zone) -> Iterator[tuple[bytes, RecordSets]]:
    """Yield the names of a zone with their record sets, those made of another server's signatures included."""
    if isinstance(zone.signing, PresignedZone):
        yield from zone.signing.content.items()
    else:
        for node in tables.nodes.values():
            if node.zone is zone and node.sets:
                yield node.key, node.sets


def _records(tables: Tables, zone: Zone) -> Iterator[Records]:
    """Return the record sets of a zone, as they are now, in the order of a transfer (RFC 5936 §2.2)."""
    soa = Records(zone.key, codes.SOA, *zone.soa)
    if isinstance(zone.signing, ZoneSigning):
        return chained([soa], signed_records(tables, zone, zone.signing), [soa])
    found = list(_sets_of(tables, zone))

    def generate() -> Iterator[Records]:
        yield soa
        for key, sets in found:
            for rtype, records in sets.items():
                if rtype != codes.SOA or key != zone.key:
                    yield Records(key, wire_type(rtype), *records)
        yield soa

    return generate()


def _messages(query: Query, records: Iterator[Records], limit: int) -> Iterator[bytes]:
    """Yield as few messages as hold the records, each of at most `limit` bytes with its signature."""
    opt = b"" if query.edns is None else OPT_REPLIES[query.edns[1]]
    flags = QR | AA | (RD if query.recursion_desired else 0)
    room = limit - HEADER_BYTES - len(query.question) - len(opt) - _signature_bytes(query)

    def message(writer: BodyWriter, count: int) -> bytes:
        head = query.data[:2] + pack("!HHHHH", flags, 1, count, 0, 1 if opt else 0)
        return b"".join((head, query.question, writer.body, opt))

    asked = query.question[:-4]
    writer, count = BodyWriter(asked, len(asked)), 0
    for one in records:
        for data in one.data:
            owner = one.owner or query.key
            if count and len(writer.body) + len(owner) + _RECORD_BYTES + len(data) > room:
                yield message(writer, count)
                writer, count = BodyWriter(asked, len(asked)), 0
            count += writer.add(Records(owner, one.rtype, one.ttl, (data,)))
    yield message(writer, count)


def _signature_bytes(query: Query) -> int:
    return 0 if query.signature is None else query.signature.size


def _error(query: Query, rcode: int) -> bytes:
    """Return the only message of a transfer that cannot be made."""
    flags = QR | (RD if query.recursion_desired else 0) | rcode
    return query.data[:2] + pack("!HHHHH", flags, 1, 0, 0, 0) + query.question
