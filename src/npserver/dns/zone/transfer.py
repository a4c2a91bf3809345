"""Zone transfers to secondary servers: the messages of an AXFR (RFC 5936), which also answer IXFR (RFC 1995 §4)."""

from __future__ import annotations

from collections.abc import Iterator
from struct import pack

from npserver.dns.message import codes
from npserver.dns.message.header import AA, QR, RD
from npserver.dns.message.query import Query
from npserver.dns.zone.answer import BodyWriter
from npserver.dns.zone.lookup import Records
from npserver.dns.zone.tables import Tables, Zone

MESSAGE_BYTES = 16_000  # of one message: compression pointers reach up to 16,383 (RFC 5936 §3.4)


def transfer(tables: Tables, query: Query) -> Iterator[bytes]:
    """Yield the messages without their length prefixes: the SOA, all other records, and the SOA again (RFC 5936 §2.2).

    If the name asked for is not an apex, the only message is a reply with NOTAUTH.
    """
    zone = tables.zones.get(query.key)
    flags = QR | (RD if query.recursion_desired else 0)
    head = query.data[:2]
    if zone is None:  # RFC 5936 §2.2.1
        yield head + pack("!HHHHH", flags | codes.NOTAUTH, 1, 0, 0, 0) + query.question
        return
    writer, count = BodyWriter(query.key, len(query.key)), 0
    for records in _records(tables, zone):
        if count and len(writer.body) + sum(map(len, records.data)) > MESSAGE_BYTES:
            yield head + pack("!HHHHH", flags | AA, 1, count, 0, 0) + query.question + bytes(writer.body)
            writer, count = BodyWriter(query.key, len(query.key)), 0
        count += writer.add(records)
    yield head + pack("!HHHHH", flags | AA, 1, count, 0, 0) + query.question + bytes(writer.body)


def _records(tables: Tables, zone: Zone) -> Iterator[Records]:
    """Yield the record sets of a zone in the order of a transfer."""
    soa = Records(zone.key, codes.SOA, *zone.soa)
    yield soa
    for key, sets in [(node.key, node.sets) for node in tables.zone_nodes(zone)]:  # as they are now: they may change
        for rtype, records in sets.items():
            if rtype != codes.SOA:
                yield Records(key, rtype, *records)
    yield soa
