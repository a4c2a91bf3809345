"""The answer of a resolver as it is cached, and the replies that clients get of it. Pure.

An answer has neither id nor question nor OPT record: `Answer.reply` adds those of each client. A reply of a resolver is
read into an answer only if its records are about the question: the name asked for, and those that its aliases lead to.
Its TTLs count down (RFC 2181 §8). Negative answers are kept by their SOA record, and not without one (RFC 2308 §5).
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct, pack

from npserver.dns.message import codes
from npserver.dns.message.edns import ERROR_OPTION, OPT_REPLIES, SUBNET_OPTION, extended_error, make_opt, select_options
from npserver.dns.message.header import HEADER_BYTES
from npserver.dns.message.name import parent
from npserver.dns.message.query import Query, name_end, record_name_end
from npserver.dns.message.sections import ADDITIONAL, ANSWER, AUTHORITY, Record, read_records
from npserver.nameserver.resolver.messages import AD, CD, walk, wants_dnssec
from npserver.nameserver.resolver.rebinding import leads_inside

STALE_TTL_S = 30  # of answers after their end (RFC 8767 §4)
LASTING_S = 1.0  # a reply from the cache may be sent again for that time; its TTLs are then too long by no more
MAX_TTL_S = 0x7FFF_FFFF  # a larger one is 0 (RFC 2181 §8)
_REBINDING = extended_error(codes.EDE_BLOCKED, "private address (dns_forward.rebind_protection)")
_DNSSEC = frozenset({codes.RRSIG, codes.NSEC, codes.NSEC3})  # what proves other records
_PASSED_ON = frozenset({ERROR_OPTION, SUBNET_OPTION})
_PACKED = Struct("!ddHBHH")
_STALE = {
    rcode: extended_error(code)
    for rcode, code in ((codes.NOERROR, codes.EDE_STALE_ANSWER), (codes.NXDOMAIN, codes.EDE_STALE_NXDOMAIN))
}


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Bounds of the TTLs of answers, in seconds."""

    min_s: int = 0
    max_s: int = 86_400
    max_negative_s: int = 10_800


class LastingReply(bytes):
    """A reply from the cache that fronts may send again for `LASTING_S`, to queries that differ by their ids alone.

    `tally`: counts the times.
    """

    tally: list[int]


@dataclass(slots=True)
class Answer:
    """An answer of a resolver, or a failure of all of them."""

    rcode: int
    is_authentic: bool  # AD: the resolver has validated it
    start: int  # position in a message at which the records begin
    counts: tuple[int, int, int]  # of the records in the three sections, without OPT
    records: bytes
    offsets: list[int]  # of the TTLs in `records`
    options: bytes  # EDNS options that clients get too, in wire form
    since: float = 0.0  # when the TTLs were as they are in `records`
    until: float = 0.0  # when the answer ends; `since` if it is not cached
    hits: int = 0  # how often it was asked for since it came into the cache
    is_wanted: bool = False  # it was asked for since it was last passed over in a full cache
    is_refreshing: bool = False  # a new one is being asked for
    is_refused: bool = False  # it had private addresses, and has no records now; known to the worker that asked
    retry_at: float = 0.0  # until then it is given after its end without asking again
    _age: int = 0
    _aged: bytes = b""

    @property
    def is_failure(self) -> bool:
        """Whether it says that there is no answer."""
        return self.rcode not in (codes.NOERROR, codes.NXDOMAIN)

    @property
    def size(self) -> int:
        """The bytes that it holds."""
        return len(self.records) + len(self.options)

    def reply(self, query: Query, now: float, options: bytes = b"", *, is_stale: bool = False) -> bytes:
        """Return the reply to a client's query. `options`: further EDNS options, in wire form."""
        data, edns = query.data, query.edns
        age = int(now - self.since)
        if is_stale:
            records = self._with_ttl(STALE_TTL_S)
            options += _STALE.get(self.rcode, b"")
        elif age == self._age:
            records = self._aged or self.records
        else:
            records = self._aged = self._counted_down(age)
            self._age = age
        flags = 0x80 | data[3] & CD | self.rcode
        if self.is_authentic and (data[3] & AD or (edns is not None and edns[1])):  # RFC 6840 §5.8
            flags |= AD
        answers, authority, additional = self.counts
        head = pack("!BBHHHH", 0x80 | data[2] & 1, flags, 1, answers, authority, additional + (edns is not None))
        opt = b""
        if edns is not None:
            options += self.options
            opt = make_opt(edns[1], options) if options else OPT_REPLIES[edns[1]]
        return b"".join((data[:2], head, query.question, records, opt))

    def _counted_down(self, age: int) -> bytes:
        data = bytearray(self.records)
        for at in self.offsets:
            ttl = int.from_bytes(data[at : at + 4], "big")
            data[at : at + 4] = max(0, ttl - age).to_bytes(4, "big")
        return bytes(data)

    def _with_ttl(self, ttl: int) -> bytes:
        data = bytearray(self.records)
        for at in self.offsets:
            data[at : at + 4] = ttl.to_bytes(4, "big")
        return bytes(data)

    def pack(self) -> bytes:
        """Return the answer as bytes, for other processes."""
        lengths = self.rcode, self.is_authentic, self.start, len(self.options)
        counts = pack("!HHH", *self.counts)
        return _PACKED.pack(self.since, self.until, *lengths) + self.options + counts + self.records


def unpack(data: bytes, question: bytes) -> Answer:
    """Return the answer to a question that `Answer.pack` has made bytes of. Raises: ValueError, struct.error."""
    since, until, rcode, is_authentic, start, options_bytes = _PACKED.unpack_from(data)
    middle = _PACKED.size + options_bytes
    counts, records = data[middle : middle + 6], data[middle + 6 :]
    walked = walk(bytes(4) + b"\0\1" + counts + question + records)
    if walked is None or start != HEADER_BYTES + len(question) or walked[1] != start + len(records):
        raise ValueError("not an answer to this question")
    offsets = [at - start for at in walked[0]]
    answers, authority, additional = (int.from_bytes(counts[at : at + 2], "big") for at in (0, 2, 4))
    options = data[_PACKED.size : middle]
    split = answers, authority, additional
    return Answer(rcode, bool(is_authentic), start, split, records, offsets, options, since, until)


def failure(query: Query, rcode: int, options: bytes) -> Answer:
    """Return an answer without records that says that no resolver has answered."""
    return Answer(rcode, False, query.end, (0, 0, 0), b"", [], options)


def read_answer(
    query: Query, reply: bytes, now: float, lifetimes: Lifetimes, *, refuses_private: bool = False
) -> Answer | None:
    """Return the answer in a reply checked by `match_reply`; None if its records are not about the question.

    `refuses_private`: an answer with private addresses is replaced by one that says so and has no records, for as long
    as it was to be cached.
    """
    split = _without_opt(reply)
    if split is None:
        return None
    counts, end, rcode, options = split
    message = reply[:6] + pack("!HHH", *counts) + reply[HEADER_BYTES:end]
    try:
        records = list(read_records(message))
    except ValueError:
        return None
    if not wants_dnssec(query) and any(one.rtype in _DNSSEC for one in records):
        message, records, counts = _without_dnssec(query, message, records)
    walked = walk(message)
    names = _aliases(query, records)
    if walked is None or names is None:
        return None
    start = query.end
    body = bytearray(message[start:])
    offsets = [at - start for at in walked[0]]
    answer = Answer(rcode, bool(reply[3] & AD), start, counts, b"", offsets, options, now, now)
    if not answer.is_failure:
        ttl = _adjust_ttls(query, names, records, body, answer, lifetimes)
        answer.until = now + ttl
    if refuses_private and leads_inside(records):
        until = answer.until
        return Answer(codes.NOERROR, False, start, (0, 0, 0), b"", [], _REBINDING, now, until, is_refused=True)
    answer.records = bytes(body)
    return answer


def _without_opt(reply: bytes) -> tuple[tuple[int, int, int], int, int, bytes] | None:
    """Return the number of records without OPT, their end, the rcode with its upper bits, and the options passed on.

    Additional records after OPT are left out: nobody needs them, and the names in them may point to it.
    """
    answers, authority, additional = (int.from_bytes(reply[at : at + 2], "big") for at in (6, 8, 10))
    rcode = reply[3] & 0xF
    start = name_end(reply, HEADER_BYTES)
    position = (start or 0) + 4
    for number in range(answers + authority + additional):
        end = record_name_end(reply, position) or 0
        after = end + 10 + int.from_bytes(reply[end + 8 : end + 10], "big")
        if int.from_bytes(reply[end : end + 2], "big") == codes.OPT:
            if number < answers + authority or end != position + 1:  # RFC 6891 §6.1.1
                return None
            upper = reply[end + 4]
            options = select_options(reply[end + 10 : after], _PASSED_ON)
            return (answers, authority, number - answers - authority), position, upper << 4 | rcode, options
        position = after
    return (answers, authority, additional), position, rcode, b""


def _without_dnssec(
    query: Query, message: bytes, records: list[Record]
) -> tuple[bytes, list[Record], tuple[int, int, int]]:
    """Return a message, its records and their numbers without those that a client without DO has not asked for.

    RFC 4035 §3.2.1. The names of the others are no longer compressed, as they may point to what is left out.
    """
    asked = query.qtype
    kept = [one for one in records if one.rtype not in _DNSSEC or asked in (one.rtype, codes.ANY)]
    of_section = [one.section for one in kept]
    counts = of_section.count(ANSWER), of_section.count(AUTHORITY), of_section.count(ADDITIONAL)
    wires = [one.owner + pack("!HHIH", one.rtype, one.rclass, one.ttl, len(one.data)) + one.data for one in kept]
    return message[:6] + pack("!HHH", *counts) + message[HEADER_BYTES : query.end] + b"".join(wires), kept, counts


def _aliases(query: Query, records: list[Record]) -> list[bytes] | None:
    """Return the names that the answer is about: that asked for, and those its aliases lead to, in lower case.

    None if an answer is about another name, or of another class: the whole is then not to be trusted.
    """
    answers = [one for one in records if one.section == ANSWER]
    aliases = {one.owner.lower(): one.data.lower() for one in answers if one.rtype == codes.CNAME}
    names = [query.key]
    while names[-1] in aliases and aliases[names[-1]] not in names:
        names.append(aliases[names[-1]])
    for one in answers:
        owner = one.owner.lower()
        is_above = _covers_dname(one) and any(_is_below(name, owner) for name in names)
        if (owner not in names and not is_above) or query.qclass not in (one.rclass, codes.CLASS_ANY):
            return None
    return names


def _covers_dname(record: Record) -> bool:
    """Return whether a record is a DNAME or its signature (RFC 6672)."""
    is_signature = record.rtype == codes.RRSIG and record.data[:2] == codes.DNAME.to_bytes(2, "big")
    return record.rtype == codes.DNAME or is_signature


def _is_below(name: bytes, zone: bytes) -> bool:
    while name != b"\0":
        if name == zone:
            return True
        name = parent(name)
    return zone == b"\0"


def _adjust_ttls(
    query: Query, names: list[bytes], records: list[Record], body: bytearray, answer: Answer, lifetimes: Lifetimes
) -> int:
    """Bring the TTLs in `body` within their bounds. Return how long the answer may be cached, in seconds."""
    low, high = lifetimes.min_s, lifetimes.max_s
    wanted = (query.qtype,) if query.qtype != codes.ANY else {one.rtype for one in records}
    is_negative = answer.rcode == codes.NXDOMAIN or not any(
        one.section == ANSWER and one.rtype in wanted for one in records
    )
    if is_negative:
        soa = [one for one in records if one.section == AUTHORITY and one.rtype == codes.SOA and len(one.data) >= 22]
        if not soa or not _is_below(names[-1], soa[0].owner.lower()):
            return 0
        low, high = 0, min(_ttl(soa[0].ttl), _ttl(int.from_bytes(soa[0].data[-4:], "big")), lifetimes.max_negative_s)
    shortest = high
    for at, one in zip(answer.offsets, records, strict=True):
        ttl = min(max(_ttl(one.ttl), low), high)
        body[at : at + 4] = ttl.to_bytes(4, "big")
        shortest = min(shortest, ttl)
    return shortest if records else 0


def _ttl(value: int) -> int:
    return value if value <= MAX_TTL_S else 0


def cache_key(group: bytes, query: Query, subnet: bytes) -> bytes:
    """Return the key of a question: queries with equal keys get equal answers.

    It has the name in lower case, type and class, DO and CD, the subnet told to the resolvers, and whom they are.
    """
    return b"%b%b%c%b" % (query.key, query.question[-4:], wants_dnssec(query) | query.data[3] & CD, group + subnet)
