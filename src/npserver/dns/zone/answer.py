"""Compiles the sections that a lookup found to bytes: all of a reply that follows the question (RFC 1035 §4.1).

A reply is id, head, the question as sent, body, OPT; everything but id, question and OPT is compiled here. An answer
fits every name of the same length that ends in `suffix`, in any spelling, because its compression pointers lead into
the question.
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

MAX_ROTATIONS = 16  # orders compiled of one record set of addresses
_MAX_POINTER = 0x3FFF  # the largest offset that a compression pointer can hold

Heads = tuple[bytes, ...]  # as made by `heads`
Counts = tuple[int, int, int]  # of the answer, authority and additional sections


class CompiledAnswer:
    """A compiled reply to a question.

    Args:
        flags: of the header.
        counts: of the records in the three sections, without OPT.
        bodies: the bytes between question and OPT; several ones hold the same records in rotated order (RFC 1794).
        rate_limit_key: equal for all answers that response rate limiting counts as one.
        tally: how often answers of this type and rcode were sent.
    """

    __slots__ = (
        "bodies",
        "body_cycle",
        "full_heads",
        "outside",
        "rate_limit_key",
        "tally",
        "truncated_heads",
        "without_additional",
    )

    def __init__(
        self, flags: int, counts: Counts, bodies: tuple[bytes, ...], rate_limit_key: bytes, tally: list[int]
    ) -> None:
        self.bodies = bodies
        #: Yields the bodies in turn, forever.
        self.body_cycle = repeat(bodies[0]) if len(bodies) == 1 else cycle(bodies)
        self.full_heads = heads(flags, counts)
        self.truncated_heads = heads(flags | TC, (0, 0, 0))
        #: Heads and body without the additional section, for clients whose size limit the whole reply exceeds.
        self.without_additional: tuple[Heads, bytes] | None = None
        self.rate_limit_key = rate_limit_key
        self.tally = tally
        #: For an answer that ends outside our zones: `Sections.outside`.
        self.outside: bytes | None = None

    def __repr__(self) -> str:
        return f"<CompiledAnswer {self.rate_limit_key!r} {len(self.bodies[0])} bytes>"


def compile_answer(
    sections: Sections, suffix: bytes, name_bytes: int, rate_limit_key: bytes, tally: list[int]
) -> CompiledAnswer:
    """Compile the sections found for a name of `name_bytes` bytes that ends in `suffix`."""
    flags = QR | (AA if sections.is_authoritative else 0) | sections.rcode & 0xF
    bodies, counts = _bodies(sections, suffix, name_bytes)
    answer = CompiledAnswer(flags, counts, bodies, rate_limit_key, tally)
    answer.outside = sections.outside
    if sections.additional and not sections.needs_additional:
        less = Sections(sections.rcode, sections.is_authoritative, sections.answer, sections.authority)
        short, short_counts = _bodies(less, suffix, name_bytes)
        answer.without_additional = heads(flags, short_counts), short[0]
    return answer


def compile_single_set(
    rtype: int, ttl: int, data: tuple[bytes, ...], rate_limit_key: bytes, tally: list[int]
) -> CompiledAnswer:
    """Compile the commonest answer faster: one record set, owned by the name asked for, whose data holds no names."""
    # hot: dns-many
    fixed = pack("!HHHI", 0xC00C, rtype, codes.CLASS_IN, ttl)
    if len(data) == 1:
        bodies: tuple[bytes, ...] = (fixed + len(data[0]).to_bytes(2, "big") + data[0],)
    else:
        records = [fixed + len(one).to_bytes(2, "big") + one for one in data]
        bodies = tuple([b"".join(records[at:] + records[:at]) for at in _rotation(rtype, len(records))])
    return CompiledAnswer(QR | AA, (len(data), 0, 0), bodies, rate_limit_key, tally)


def _rotation(rtype: int, count: int) -> range:
    """Return the index of the first record in each order of a record set of `count` records."""
    return range(0, count, -(-count // MAX_ROTATIONS)) if rtype in (codes.A, codes.AAAA) else range(1)


@lru_cache(maxsize=1024)
def heads(flags: int, counts: Counts) -> Heads:
    """Return bytes 2 to 12 of a reply for each combination of RD + 2 * EDNS + 4 * RA, which is the index."""
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
    answer = sections.answer
    orders = [answer]
    if answer:
        index = len(answer) - 1
        if answer[index].rtype == codes.RRSIG and index:  # signs those before it
            index -= 1
        last = answer[index]
        orders = [
            [
                *answer[:index],
                Records(last.owner, last.rtype, last.ttl, last.data[at:] + last.data[:at]),
                *answer[index + 1 :],
            ]
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
    """Writes the records of a reply, with name compression (RFC 1035 §4.1.4) that keeps the case (RFC 5936 §3.4).

    The name in the question has `name_bytes` bytes and ends in `suffix`.
    """

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
        """Append the records of a record set and return their number."""
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
        """Append the name that `wire` begins with, compressed, and return its length in `wire`."""
        position = 0
        end = 0
        while wire[end]:
            end += wire[end] + 1
        end += 1
        name = wire[:end]
        while wire[position]:
            known = self._offsets.get(name[position:])
            if known is not None:
                self.body += pack("!H", 0xC000 | known)
                return end
            here = self._start + len(self.body)
            if here <= _MAX_POINTER:
                self._offsets[name[position:]] = here
            length = wire[position] + 1
            self.body += wire[position : position + length]
            position += length
        self.body += ROOT
        return end
