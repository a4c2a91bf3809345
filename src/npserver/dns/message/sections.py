"""The records of a message that others have sent, with their names decompressed (RFC 1035 §4.1.4). Pure.

Anything may come: what is no message is a ValueError. `nameserver.resolver.completion` copies records into replies of
ours, `dns.message.tsig` looks for the signature.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from npserver.dns.message import codes
from npserver.dns.message.header import HEADER_BYTES
from npserver.dns.message.name import MAX_LABEL_BYTES, MAX_NAME_BYTES
from npserver.dns.message.query import name_end, record_name_end

ANSWER, AUTHORITY, ADDITIONAL = 0, 1, 2
MAX_POINTERS = 127  # in one name, which has no more labels; chains of them would take time and say nothing

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


class Record(Struct, frozen=True):
    """One record; its names are whole, in the spelling of the message."""

    section: int  # ANSWER, AUTHORITY or ADDITIONAL
    owner: bytes
    rtype: int
    rclass: int
    ttl: int
    data: bytes


def read_records(data: bytes, sections: int = 3, *, needs_question: bool = True) -> Iterator[Record]:
    """Yield the records of the first `sections` sections of a message with one question. Raises: ValueError.

    Later messages of a transfer may be without the question (RFC 5936 §2.2.1).
    """
    try:
        yield from _records(data, sections, needs_question)
    except IndexError:
        raise ValueError("the message is cut off") from None


def _records(data: bytes, sections: int, needs_question: bool) -> Iterator[Record]:
    position = HEADER_BYTES
    if needs_question or data[4:6] != b"\0\0":
        question_end = name_end(data, HEADER_BYTES)
        if question_end is None or data[4:6] != b"\0\1":
            raise ValueError("malformed question")
        position = question_end + 4
    for section in range(sections):
        count_at = 6 + 2 * section
        for _ in range(int.from_bytes(data[count_at : count_at + 2], "big")):
            end = record_name_end(data, position)
            if end is None or end + 10 > len(data):
                raise ValueError("malformed record")
            owner, _ = read_name(data, position)
            rtype, rclass = (int.from_bytes(data[at : at + 2], "big") for at in (end, end + 2))
            ttl = int.from_bytes(data[end + 4 : end + 8], "big")
            start, position = end + 10, end + 10 + int.from_bytes(data[end + 8 : end + 10], "big")
            if position > len(data):
                raise ValueError("malformed record")
            yield Record(section, owner, rtype, rclass, ttl, _data(data, start, position, rtype))


def _data(data: bytes, start: int, end: int, rtype: int) -> bytes:
    """Return the data of a record with the names in it decompressed."""
    if rtype not in _NAMES_IN_DATA:
        return data[start:end]
    before, count = _NAMES_IN_DATA[rtype]
    found = data[start : start + before]
    position = start + before
    for _ in range(count):
        name, position = read_name(data, position)
        found += name
    if position > end:
        raise ValueError("a name exceeds its record")
    return found + data[position:end]


def read_name(data: bytes, position: int) -> tuple[bytes, int]:
    """Return the name at `position`, decompressed, and the position after it. Raises: ValueError, IndexError."""
    found = b""
    end = pointers = 0
    while length := data[position]:
        if length >= 0xC0:
            target = (length & 0x3F) << 8 | data[position + 1]
            end = end or position + 2
            pointers += 1
            if target >= position or pointers > MAX_POINTERS:
                raise ValueError("a compression pointer points forward, or to too many others")
            position = target
            continue
        found += data[position : position + length + 1]
        position += length + 1
        if length > MAX_LABEL_BYTES or len(found) >= MAX_NAME_BYTES:
            raise ValueError("malformed name")
    return found + b"\0", end or position + 1
