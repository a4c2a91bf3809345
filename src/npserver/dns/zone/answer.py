"""Sections to bytes: everything of a reply that follows the question, compressed (RFC 1035 §4.1), ready to be sent.

An answer holds for every name of the same length that ends in `suffix`, however its letters are spelled: pointers
into the question repeat the asker's spelling. A reply is id, head, the question as it came, body, OPT.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import cycle, repeat
from struct import pack

from npserver.dns.message import codes
from npserver.dns.message.header import AA, HEADER_BYTES, QR, RA, RD, TC
from npserver.dns.message.name import ROOT
from npserver.dns.message.record import COMPRESSIBLE
from npserver.dns.zone.lookup import Records, Sections

MAX_ROTATIONS = 16  # orders kept of a set of addresses
_MAX_POINTER = 0x3FFF

Heads = tuple[bytes, ...]
Counts = tuple[int, int, int]  # of the answer, authority and additional sections


class CompiledAnswer:
    """A reply, compiled. `bodies` are the same records in rotated order (RFC 1794)."""

    __slots__ = (
        "bodies",
        "body_cycle",
        "full_heads",
        "rate_limit_key",
        "tally",
        "truncated_heads",
        "without_additional",
    )

    def __init__(
        self, flags: int, counts: Counts, bodies: tuple[bytes, ...], rate_limit_key: bytes, tally: list[int]
    ) -> None:
        self.bodies = bodies
        self.body_cycle = repeat(bodies[0]) if len(bodies) == 1 else cycle(bodies)
        self.full_heads = heads(flags, counts)
        self.truncated_heads = heads(flags | TC, (0, 0, 0))
        #: The answer without its additional section, for those who can take no more.
        self.without_additional: tuple[Heads, bytes] | None = None
        self.rate_limit_key = rate_limit_key  # equal for answers that rate limits count as one
        self.tally = tally  # one number: how often answers of this type and rcode were given

    def __repr__(self) -> str:
        return f"<CompiledAnswer {self.rate_limit_key!r} {len(self.bodies[0])} bytes>"


def compile_answer(
    sections: Sections, suffix: bytes, name_bytes: int, rate_limit_key: bytes, tally: list[int]
) -> CompiledAnswer:
    """Compile what a lookup found for names of `name_bytes` bytes that end in `suffix`."""
    flags = QR | (AA if sections.is_authoritative else 0) | sections.rcode & 0xF
    bodies, counts = _bodies(sections, suffix, name_bytes)
    answer = CompiledAnswer(flags, counts, bodies, rate_limit_key, tally)
    if sections.additional and not sections.needs_additional:
        less = Sections(sections.rcode, sections.is_authoritative, sections.answer, sections.authority)
        short, short_counts = _bodies(less, suffix, name_bytes)
        answer.without_additional = heads(flags, short_counts), short[0]
    return answer


def compile_single_set(
    rtype: int, ttl: int, data: tuple[bytes, ...], rate_limit_key: bytes, tally: list[int]
) -> CompiledAnswer:
    """Compile the commonest answer, a record set of the asked name whose data holds no names: equal, but faster."""
    # hot: dns-many
    fixed = pack("!HHHI", 0xC00C, rtype, codes.CLASS_IN, ttl)
    if len(data) == 1:
        bodies: tuple[bytes, ...] = (fixed + len(data[0]).to_bytes(2, "big") + data[0],)
    else:
        records = [fixed + len(one).to_bytes(2, "big") + one for one in data]
        bodies = tuple([b"".join(records[at:] + records[:at]) for at in _rotation(rtype, len(records))])
    return CompiledAnswer(QR | AA, (len(data), 0, 0), bodies, rate_limit_key, tally)


def _rotation(rtype: int, count: int) -> range:
    """Where to begin with a set of so many records."""
    return range(0, count, -(-count // MAX_ROTATIONS)) if rtype in (codes.A, codes.AAAA) else range(1)


@lru_cache(maxsize=1024)
def heads(flags: int, counts: Counts) -> Heads:
    """Bytes 2 to 12 of a reply, by RD + 2 * EDNS + 4 * RA."""
    answers, authority, additional = counts
    return tuple(
        [
            pack("!HHHHH", flags | rd | ra, 1, answers, authority, additional + edns)
            for ra in (0, RA)
            for edns in (0, 1)
            for rd in (0, RD)
        ]
    )


def _bodies(sections: Sections, suffix: bytes, name_bytes: int) -> tuple[tuple[bytes, ...], Counts]:
    orders = [sections.answer]
    if sections.answer:
        last = sections.answer[-1]
        orders = [
            [*sections.answer[:-1], Records(last.owner, last.rtype, last.ttl, last.data[at:] + last.data[:at])]
            for at in _rotation(last.rtype, len(last.data))
        ]
    bodies = []
    for order in orders:
        writer = BodyWriter(suffix, name_bytes)
        answers = sum([writer.add(one) for one in order])
        authority = sum([writer.add(one) for one in sections.authority])
        additional = sum([writer.add(one) for one in sections.additional])
        bodies.append(bytes(writer.body))
    return tuple(bodies), (answers, authority, additional)


class BodyWriter:
    """Writes records after a question whose name has `name_bytes` bytes and ends in `suffix`."""

    def __init__(self, suffix: bytes, name_bytes: int) -> None:
        self.body = bytearray()
        self._start = HEADER_BYTES + name_bytes + 4
        self._offsets: dict[bytes, int] = {}
        offset = HEADER_BYTES + name_bytes - len(suffix)
        while suffix != ROOT:
            self._offsets[suffix] = offset
            offset += suffix[0] + 1
            suffix = suffix[suffix[0] + 1 :]

    def add(self, records: Records) -> int:
        """Append a record set; gives the number of records."""
        fixed = pack("!HHI", records.rtype, codes.CLASS_IN, records.ttl)
        names_at = COMPRESSIBLE.get(records.rtype)
        for data in records.data:
            if records.owner is None:
                self.body += b"\xc0\x0c"
            else:
                self._add_name(records.owner)
            self.body += fixed
            length_at = len(self.body)
            self.body += b"\0\0"
            if names_at is not None:
                self.body += data[:names_at]
                self._add_name(data[names_at:])
            elif records.rtype == codes.SOA:
                end = self._add_name(data)
                end += self._add_name(data[end:])
                self.body += data[end:]
            else:
                self.body += data
            self.body[length_at : length_at + 2] = pack("!H", len(self.body) - length_at - 2)
        return len(records.data)

    def _add_name(self, wire: bytes) -> int:
        """Append the name that `wire` starts with, compressed; gives its length in `wire`."""
        position = 0
        end = 0
        while wire[end]:
            end += wire[end] + 1
        end += 1
        key = wire[:end].lower()
        while wire[position]:
            known = self._offsets.get(key[position:])
            if known is not None:
                self.body += pack("!H", 0xC000 | known)
                return end
            here = self._start + len(self.body)
            if here <= _MAX_POINTER:
                self._offsets[key[position:]] = here
            length = wire[position] + 1
            self.body += wire[position : position + length]
            position += length
        self.body += ROOT
        return end
