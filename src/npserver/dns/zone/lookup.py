"""What to answer: RFC 1034 §4.3.2 over the tables, with wildcards (RFC 4592), aliases followed through all our zones
(RFC 6604), referrals, and SOA beside every "no" (RFC 2308).

`find` says how a name stands in the tables, `look_up` gathers the sections. Pure; `dns.zone.responder` remembers
results."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from npserver.dns.message import codes
from npserver.dns.message.name import MAX_LABEL_BYTES, MAX_NAME_BYTES, ROOT
from npserver.dns.message.record import ADDRESSED
from npserver.dns.zone.tables import NO_SETS, Node, RecordSet, Tables, Zone

MAX_ALIASES = 16  # of a chain; longer ones end there, and the client asks on

#: RFC 8482 §4.2: what a public server says instead of all records.
MINIMAL_ANY: RecordSet = (3600, (b"\x07RFC8482\0",))


class NameStatus(Enum):
    """How a name stands in the tables."""

    EXISTS = "exists"
    WILDCARD = "wildcard"  # a `*` node speaks for it
    MISSING = "missing"
    DELEGATED = "delegated"
    FOREIGN = "foreign"  # in none of our zones


@dataclass(slots=True)
class Records:
    """A record set in an answer. `owner` None: the name that was asked for, whatever it is."""

    owner: bytes | None
    rtype: int
    ttl: int
    data: tuple[bytes, ...]


@dataclass(slots=True)
class Sections:
    """What a lookup found."""

    rcode: int = codes.NOERROR
    is_authoritative: bool = True
    answer: list[Records] = field(default_factory=list)
    authority: list[Records] = field(default_factory=list)
    additional: list[Records] = field(default_factory=list)
    needs_additional: bool = False  # glue: an answer without it is truncated (RFC 9471)


Found = tuple[NameStatus, Node | None]


def find(tables: Tables, key: bytes) -> Found:  # hot: dns-missing
    """Say how `key` stands, and which node speaks for it: itself, the `*`, the closest ancestor, the cut.

    `key`, in lower case, ends in its first zero byte. Labels that only look longer than all our names are stepped
    over without look-ups, so that the cost hardly follows their number. Raises: ValueError if it is no name.
    """
    nodes = tables.nodes
    node = nodes.get(key)
    if node is not None:
        return (NameStatus.EXISTS if node.cut is None else NameStatus.DELEGATED), node.cut or node
    last = len(key) - 1
    if last >= MAX_NAME_BYTES:
        raise ValueError("name too long")
    excess = last + 1 - tables.longest_key
    position = 0
    while position < last:
        length = key[position]
        if length > MAX_LABEL_BYTES:
            break
        position += length + 1
        if position < excess:
            continue
        above = nodes.get(key[position:])
        if above is not None:
            if above.cut is not None:
                return NameStatus.DELEGATED, above.cut
            return (NameStatus.MISSING, above) if above.wildcard is None else (NameStatus.WILDCARD, above.wildcard)
    if position != last:
        raise ValueError("malformed name")
    return NameStatus.FOREIGN, None


def look_up(
    tables: Tables, key: bytes, rtype: int, found: Found | None = None, *, minimal_any: bool = False
) -> Sections | None:
    """Gather the answer for a name and type; None if the name is in none of our zones.

    With `found` given, `key` may be any name that stands so: the sections then hold for all of them.
    """
    sections = Sections()
    asked = key
    owner: bytes | None = None
    seen: set[Node] = set()
    while True:
        status, node = found or find(tables, key)
        found = None
        if node is None:
            return sections if sections.answer else None
        if rtype == codes.DS:
            status, node = _parent_side(status, node, key)
        if status is NameStatus.DELEGATED:
            _refer(sections, node)
            break
        zone = node.zone
        if status is NameStatus.MISSING:
            sections.rcode = codes.NXDOMAIN
            sections.authority.append(_denial(zone))
            break
        alias = node.sets.get(codes.CNAME)
        if alias is not None:  # whatever was asked for
            if node in seen or len(seen) >= MAX_ALIASES:
                break
            seen.add(node)
            sections.answer.append(Records(owner, codes.CNAME, *alias))
            if rtype in (codes.CNAME, codes.ANY):
                break
            owner = key = alias[1][0].lower()
            continue
        if rtype == codes.ANY and node.sets:
            every = [(codes.HINFO, MINIMAL_ANY)] if minimal_any else node.sets.items()
            sections.answer += [Records(owner, one, *records) for one, records in every]
        elif (records := node.sets.get(rtype)) is not None:
            sections.answer.append(Records(owner, rtype, *records))
        else:
            sections.authority.append(_denial(zone))
        break
    if rtype != codes.ANY:
        _add_addresses(tables, sections, asked)
    return sections


def _parent_side(status: NameStatus, node: Node, key: bytes) -> tuple[NameStatus, Node]:
    """DS stands above a cut (RFC 4035 §3.1.4.1): the parent's zone answers, when that is ours."""
    if node.key != key:
        return status, node
    if status is NameStatus.DELEGATED:
        return NameStatus.EXISTS, node
    if status is NameStatus.EXISTS and node is node.zone.apex and node.zone.parent is not None:
        above = Node(node.key, NO_SETS)
        above.zone = node.zone.parent
        return NameStatus.EXISTS, above
    return status, node


def _refer(sections: Sections, cut: Node) -> None:
    """Someone else knows: the NS records, without authority unless an alias led here (RFC 1034 §4.3.2 step 3b)."""
    sections.is_authoritative = bool(sections.answer)
    sections.needs_additional = True
    sections.authority.append(Records(cut.key, codes.NS, *cut.sets[codes.NS]))


def _denial(zone: Zone) -> Records:
    return Records(zone.key, codes.SOA, zone.negative_ttl, zone.soa[1])


def _add_addresses(tables: Tables, sections: Sections, asked: bytes) -> None:
    """Send along the addresses, which we hold, of the names that records point to."""
    present = {(one.owner or asked, one.rtype) for one in sections.answer}
    for one in (*sections.answer, *sections.authority):
        offset = ADDRESSED.get(one.rtype)
        if offset is None:
            continue
        for data in one.data:
            target = _target(data[offset:]).lower()
            if target == ROOT and one.rtype in (codes.SVCB, codes.HTTPS):
                target = one.owner or asked  # the owner itself
            node = tables.nodes.get(target)
            if node is None or (node.cut is not None and not sections.needs_additional):
                continue
            for rtype in (codes.A, codes.AAAA):
                records = node.sets.get(rtype)
                if records is not None and (target, rtype) not in present:
                    present.add((target, rtype))
                    sections.additional.append(Records(target, rtype, *records))


def _target(data: bytes) -> bytes:
    """The name at the start of `data`, which is valid."""
    position = 0
    while data[position]:
        position += data[position] + 1
    return data[: position + 1]
