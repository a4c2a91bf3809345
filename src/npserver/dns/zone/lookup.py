"""The lookup of RFC 1034 §4.3.2 in the tables, which yields the sections of an answer.

It follows wildcards (RFC 4592) and aliases through all our zones (RFC 6604, RFC 6672), refers to other servers at cuts,
and adds the SOA to negative answers (RFC 2308). `find` tells the status of a name, `look_up` gathers the sections.
Pure; results are cached by `dns.zone.responder`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from npserver.dns.message import codes
from npserver.dns.message.name import MAX_LABEL_BYTES, MAX_NAME_BYTES, ROOT, parent
from npserver.dns.message.record import ADDRESSED
from npserver.dns.zone.tables import NO_SETS, Node, RecordSet, Tables, Zone

#: Types that names of signed zones have by being signed.
MADE_BY_SIGNING = frozenset({codes.RRSIG, codes.NSEC})
MAX_ALIASES = 16  # followed in a chain of CNAMEs; the client asks for the rest itself

#: The HINFO that a public server answers ANY with, instead of all records (RFC 8482 §4.2).
MINIMAL_ANY: RecordSet = (3600, (b"\x07RFC8482\0",))


class NameStatus(Enum):
    """Whether and how a name exists in the tables."""

    EXISTS = "exists"
    WILDCARD = "wildcard"  # does not exist, but a wildcard matches it
    MISSING = "missing"  # does not exist in our zone
    DELEGATED = "delegated"  # at or below a cut
    REDIRECTED = "redirected"  # below a name with a DNAME
    FOREIGN = "foreign"  # in none of our zones


@dataclass(slots=True)
class Records:
    """A record set in a reply. An `owner` of None stands for the name asked for.

    `source`: the node of the zone that vouches for the set; none for what is not signed: delegations and glue.
    """

    owner: bytes | None
    rtype: int
    ttl: int
    data: tuple[bytes, ...]
    source: Node | None = field(default=None, compare=False)


class Claim(Enum):
    """What a signed answer has to prove of a name, beside its records (RFC 4035 §3.1.3, §3.1.4)."""

    NO_TYPE = "no type"  # it exists without the type
    MISSING = "missing"  # it does not exist
    EXPANDED = "expanded"  # a wildcard stands for it, as it does not exist
    EXPANDED_NO_TYPE = "expanded, no type"  # a wildcard stands for it, without the type
    NO_DS = "no DS"  # it is delegated to a zone that is not signed


@dataclass(slots=True)
class Sections:
    """The records that a lookup found, by section (RFC 1034 §3.7)."""

    rcode: int = codes.NOERROR
    is_authoritative: bool = True
    answer: list[Records] = field(default_factory=list)
    authority: list[Records] = field(default_factory=list)
    additional: list[Records] = field(default_factory=list)
    needs_additional: bool = False  # holds glue: a reply without it must be truncated (RFC 9471)
    #: The name outside our zones, or in a delegated one, with which the aliases end; b"" for the name asked for itself.
    outside: bytes | None = None
    #: Each with the name that it is about, and the node that decided about it.
    claims: list[tuple[Claim, bytes, Node]] = field(default_factory=list, compare=False)


#: The status of a name and the node that decides it; None if it is foreign.
Found = tuple[NameStatus, Node | None]


def find(tables: Tables, key: bytes) -> Found:  # hot: dns-missing
    """Return the status of a name, and the node that decides it: its own, the wildcard, the closest ancestor, the cut.

    Leading labels that make the name longer than any of ours are skipped without look-ups, so that names of many
    labels cost little more.

    `key`: the name in lower case, ending in its first zero byte.

    Raises: ValueError if it is not a valid name.
    """
    nodes = tables.nodes
    node = nodes.get(key)
    if node is not None:
        return (NameStatus.EXISTS, node) if node.cut is None else _beyond(node.cut)
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
                return _beyond(above.cut)
            if above.wildcard is None:
                return NameStatus.MISSING, above
            return (NameStatus.REDIRECTED if above.wildcard is above else NameStatus.WILDCARD), above.wildcard
    if position != last:
        raise ValueError("malformed name")
    return NameStatus.FOREIGN, None


def _beyond(cut: Node) -> tuple[NameStatus, Node]:
    return (NameStatus.DELEGATED if cut.is_delegated else NameStatus.REDIRECTED), cut


def look_up(
    tables: Tables, key: bytes, rtype: int, found: Found | None = None, *, minimal_any: bool = False
) -> Sections | None:
    """Return the sections of the answer for a name and type; None if the name is in none of our zones.

    Args:
        tables: of the client's view.
        key: the name asked for, in lower case.
        rtype: the type asked for.
        found: the result of `find`, if known. The sections then fit all names with that result.
        minimal_any: whether to answer ANY with one HINFO.

    Raises: ValueError if `key` is not a valid name.
    """
    sections = Sections()
    asked = key
    owner: bytes | None = None
    seen: set[Node] = set()
    while True:
        status, node = found or find(tables, key)
        found = None
        if node is None or not node.zone.is_served:
            sections.outside = key
            return sections if sections.answer else None
        if rtype == codes.DS:
            status, node = _parent_side(tables, status, node, key)
        if status is NameStatus.DELEGATED:
            sections.outside = key if sections.answer else b""
            _refer(sections, node)
            break
        if status is NameStatus.REDIRECTED:
            redirected = _redirect(sections, owner, key, node, rtype)
            if redirected is None:
                break
            owner = key = redirected
            continue
        zone = node.zone
        if status is NameStatus.MISSING:
            sections.rcode = codes.NXDOMAIN
            sections.authority.append(_denial(zone))
            sections.claims.append((Claim.MISSING, key, node))
            break
        alias = node.sets.get(codes.CNAME)
        is_expanded = status is NameStatus.WILDCARD
        if alias is not None and (zone.signing is None or rtype not in zone.signing.own_types):
            if node in seen or len(seen) >= MAX_ALIASES:
                break
            seen.add(node)
            sections.answer.append(Records(owner, codes.CNAME, *alias, node))
            if is_expanded:
                sections.claims.append((Claim.EXPANDED, key, node))
            if rtype in (codes.CNAME, codes.ANY):
                break
            owner = key = alias[1][0].lower()
            continue
        found_sets = _sets(node, rtype, minimal_any=minimal_any)
        if found_sets and not found_sets[0][1][1]:
            return Sections(codes.SERVFAIL, is_authoritative=False)  # of an ALIAS whose addresses are not known
        if found_sets:
            sections.answer += [Records(owner, one, *records, node) for one, records in found_sets]
            if is_expanded:
                sections.claims.append((Claim.EXPANDED, key, node))
        else:
            sections.authority.append(_denial(zone))
            sections.claims.append((Claim.EXPANDED_NO_TYPE if is_expanded else Claim.NO_TYPE, key, node))
        break
    if rtype != codes.ANY:
        _add_addresses(tables, sections, asked)
    return sections


def _redirect(sections: Sections, owner: bytes | None, key: bytes, node: Node, rtype: int) -> bytes | None:
    """Add the DNAME of a node above a name, and the CNAME made of it; return the name that leads to (RFC 6672 §3.2).

    None: the answer ends here, with YXDOMAIN if that name is too long (§2.2).
    """
    ttl, data = node.sets[codes.DNAME]
    answer = sections.answer
    if not any(one.rtype == codes.DNAME and one.source is node for one in answer):
        answer.append(Records(node.key, codes.DNAME, ttl, data[:1], node))
    target = key[: -len(node.key)] + data[0]
    if len(target) > MAX_NAME_BYTES:
        sections.rcode = codes.YXDOMAIN
        return None
    answer.append(Records(owner, codes.CNAME, ttl, (target,)))
    is_endless = target.lower().endswith(node.key) or sum([one.rtype == codes.CNAME for one in answer]) >= MAX_ALIASES
    return None if is_endless or rtype == codes.CNAME else target.lower()


def _sets(node: Node, rtype: int, *, minimal_any: bool) -> Sequence[tuple[int, RecordSet]]:
    """Return the record sets of a name that answer a type."""
    sets = node.sets
    if (records := sets.get(rtype)) is not None:
        return [(rtype, records)]
    signing = node.zone.signing
    if rtype == codes.ANY:
        found = [one for one in sets.items() if one[1][1]]
        if minimal_any and found:  # of a signed zone, one set that its signatures hold for (RFC 8482 §4.1)
            return [found[0] if signing is not None else (codes.HINFO, MINIMAL_ANY)]
        return found
    if signing is None:
        return ()
    if rtype == codes.RRSIG:
        return [(rtype, one) for one in signing.signatures_at(node)]
    if rtype == codes.NSEC and (denial := signing.own_denial(node.key)) is not None:
        return [(rtype, denial)]
    return ()


def _parent_side(tables: Tables, status: NameStatus, node: Node, key: bytes) -> tuple[NameStatus, Node]:
    """Return the status of a name for DS, which the zone above a cut answers, if it is ours (RFC 4035 §3.1.4.1)."""
    if node.key != key:
        return status, node
    if status is NameStatus.DELEGATED:
        return NameStatus.EXISTS, node
    zone = node.zone
    if status is NameStatus.EXISTS and node is zone.apex and zone.parent is not None:
        if (cut := tables.nodes[parent(key)].cut_below) is not None:
            return _beyond(cut)
        above = Node(node.key, NO_SETS if zone.ds is None else {codes.DS: zone.ds})
        above.zone = zone.parent
        return NameStatus.EXISTS, above
    return status, node


def _refer(sections: Sections, cut: Node) -> None:
    """Add a referral: the NS records of the cut, authoritative only if an alias led here (RFC 1034 §4.3.2 step 3b)."""
    sections.is_authoritative = bool(sections.answer)
    sections.needs_additional = True
    sections.authority.append(Records(cut.key, codes.NS, *cut.sets[codes.NS]))
    if cut.zone.signing is not None:
        sections.claims.append((Claim.NO_DS, cut.key, cut))


def _denial(zone: Zone) -> Records:
    """Return the SOA for a negative answer (RFC 2308 §3)."""
    return Records(zone.key, codes.SOA, zone.negative_ttl, zone.soa[1], zone.apex)


def _add_addresses(tables: Tables, sections: Sections, asked: bytes) -> None:
    """Add our addresses of the names that records point to (RFC 1034 §4.3.2 step 6)."""
    present = {(one.owner or asked, one.rtype) for one in sections.answer}
    for one in (*sections.answer, *sections.authority):
        offset = ADDRESSED.get(one.rtype)
        if offset is None:
            continue
        for data in one.data:
            target = _target(data[offset:]).lower()
            if target == ROOT and one.rtype in (codes.SVCB, codes.HTTPS):
                target = one.owner or asked  # RFC 9460 §2.5.2: the root means the owner
            node = tables.nodes.get(target)
            if node is None or (node.cut is not None and not sections.needs_additional):
                continue
            for rtype in (codes.A, codes.AAAA):
                records = node.sets.get(rtype)
                if records is not None and (target, rtype) not in present:
                    present.add((target, rtype))
                    source = node if node.cut is None else None
                    sections.additional.append(Records(target, rtype, *records, source))


def _target(data: bytes) -> bytes:
    """Return the valid name that `data` begins with."""
    position = 0
    while data[position]:
        position += data[position] + 1
    return data[: position + 1]
