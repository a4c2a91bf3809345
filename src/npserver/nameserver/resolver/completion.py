"""Complete answers that end outside our zones, for clients that may recurse (RFC 1034 §4.3.1).

An alias (CNAME) of ours may lead to a name of others, and a delegation to servers of others. The resolvers are asked
for that name, and their records follow our aliases in one reply. Called by `nameserver.name_server`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import pack

from npserver.dns.message import codes
from npserver.dns.message.edns import OPT_REPLIES
from npserver.dns.message.header import AA, HEADER_BYTES, MAX_MESSAGE_BYTES, QR, RA, RD, TC
from npserver.dns.message.name import MAX_NAME_BYTES
from npserver.dns.message.query import Query, name_end, record_name_end
from npserver.dns.zone.answer import BodyWriter
from npserver.dns.zone.lookup import Records
from npserver.nameserver.resolver.messages import fail, truncate

#: Types whose data may hold compressed names (RFC 3597 §4): the bytes before the names, and their number.
_NAMES_IN_DATA = {
    codes.NS: (0, 1),
    codes.CNAME: (0, 1),
    codes.SOA: (0, 2),
    codes.PTR: (0, 1),
    codes.MX: (2, 1),
    17: (0, 2),  # RP
    18: (2, 1),  # AFSDB
    codes.SRV: (6, 1),
    39: (0, 1),  # DNAME
}


def query_for(query: Query, key: bytes) -> Query:
    """Return the query for the name `key` instead of that asked for, with the type, flags and EDNS of `query`."""
    data = query.data[:4] + b"\0\1" + bytes(6) + key + query.question[-4:]
    return Query(data, len(data), key, query.qtype, query.qclass, query.recursion_desired, query.edns)


def complete(query: Query, aliases: Sequence[Records], reply: bytes) -> bytes:
    """Return the reply to `query`: our aliases, then the records of a resolver's reply about the name they lead to.

    A failure of the resolvers is SERVFAIL, as is a reply too long with the aliases; a truncated reply stays truncated.
    """
    rcode = reply[3] & 0xF
    if rcode not in (codes.NOERROR, codes.NXDOMAIN):
        return fail(query, codes.SERVFAIL)
    if reply[2] & TC >> 8:
        return truncate(query)
    writer = BodyWriter(query.key, len(query.key))
    counts = [sum([writer.add(one) for one in aliases]), 0]
    try:
        for section, records in _read(reply):
            counts[section] += writer.add(records)
    except (ValueError, IndexError):
        return fail(query, codes.SERVFAIL)
    opt = b"" if query.edns is None else OPT_REPLIES[query.edns[1]]
    flags = QR | AA | RA | (RD if query.recursion_desired else 0) | rcode
    head = query.data[:2] + pack("!HHHHH", flags, 1, *counts, bool(opt))
    whole = b"".join((head, query.question, writer.body, opt))
    return whole if len(whole) <= MAX_MESSAGE_BYTES else fail(query, codes.SERVFAIL)


def _read(data: bytes) -> Iterator[tuple[int, Records]]:
    """Yield the records of the answer (0) and authority sections (1), with their names decompressed.

    Raises: ValueError or IndexError if the message is malformed.
    """
    position = name_end(data, HEADER_BYTES)
    if position is None:
        raise ValueError("malformed question")
    position += 4
    for section in (0, 1):
        count_at = 6 + 2 * section
        for _ in range(int.from_bytes(data[count_at : count_at + 2], "big")):
            end = record_name_end(data, position)
            if end is None or end + 10 > len(data):
                raise ValueError("malformed record")
            owner, _ = _name(data, position)
            rtype = int.from_bytes(data[end : end + 2], "big")
            ttl = int.from_bytes(data[end + 4 : end + 8], "big")
            start, position = end + 10, end + 10 + int.from_bytes(data[end + 8 : end + 10], "big")
            yield section, Records(owner, rtype, ttl, (_data(data, start, position, rtype),))


def _data(data: bytes, start: int, end: int, rtype: int) -> bytes:
    """Return the data of a record with the names in it decompressed."""
    if rtype not in _NAMES_IN_DATA:
        return data[start:end]
    before, count = _NAMES_IN_DATA[rtype]
    found = data[start : start + before]
    position = start + before
    for _ in range(count):
        name, position = _name(data, position)
        found += name
    if position > end:
        raise ValueError("a name exceeds its record")
    return found + data[position:end]


def _name(data: bytes, position: int) -> tuple[bytes, int]:
    """Return the name at `position`, decompressed (RFC 1035 §4.1.4), and the position after it."""
    found = b""
    end = 0
    while length := data[position]:
        if length >= 0xC0:
            target = (length & 0x3F) << 8 | data[position + 1]
            end = end or position + 2
            if target >= position:
                raise ValueError("a compression pointer points forward")
            position = target
            continue
        found += data[position : position + length + 1]
        position += length + 1
        if length > 63 or len(found) >= MAX_NAME_BYTES:
            raise ValueError("malformed name")
    return found + b"\0", end or position + 1
