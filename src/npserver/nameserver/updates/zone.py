"""What an update makes of a zone (RFC 2136 §3): prerequisites, then changes one after another, all or none. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from npserver.dns.message import codes
from npserver.dns.message.name import WILDCARD, to_text
from npserver.dns.message.update import CLASS_NONE
from npserver.dns.zone.compile import MAX_SET_BYTES
from npserver.dns.zone.content import is_newer, next_serial, serial_of, with_serial
from npserver.dns.zone.tables import RecordSet, ancestors, soa_serial
from npserver.nameserver.updates.message import Record, Update, UpdateError

YXDOMAIN, YXRRSET, NXRRSET, NOTZONE = 6, 7, 8, 10  # RFC 2136 §2.2

#: Types of which a name has one record at most, which a new one replaces (§3.4.2.2).
_SINGLE = frozenset({codes.SOA, codes.CNAME, codes.DNAME})
#: What the server makes itself when it signs a zone.
_OF_SIGNING = frozenset({codes.RRSIG, codes.NSEC, codes.NSEC3, codes.NSEC3PARAM, codes.DNSKEY})

#: Where the name in the data of a type begins.
_NAME_AT = {codes.NS: 0, codes.CNAME: 0, codes.PTR: 0, codes.DNAME: 0, codes.MX: 2, codes.SRV: 6}

Sets = dict[int, RecordSet]
#: Called with the name and type of a record to change: whether the key may do so.
MayChange = Callable[[bytes, int], bool]


def update(content: Mapping[bytes, Sets], apex: bytes, asked: Update, may_change: MayChange) -> dict[bytes, Sets]:
    """Return the record sets that names have after an update; of those that it removes there are none.

    It is empty if nothing changes. The serial is raised unless the update gives a newer one (§3.6).
    Names of the content without record sets do not exist. Raises: UpdateError.
    """
    check_prerequisites(content, apex, asked.prerequisites)
    for one in asked.changes:
        _check_in_zone(one.name, apex)
        if one.rtype in _OF_SIGNING:
            raise UpdateError(codes.REFUSED, f"{codes.type_name(one.rtype)} records are made by signing")
        types = content.get(one.name, {}).keys() - {codes.SOA, codes.NS} if one.rtype == codes.ANY else {one.rtype}
        if not all(may_change(one.name, rtype) for rtype in types):
            raise UpdateError(codes.REFUSED, f"no rule allows {codes.type_name(one.rtype)} of {to_text(one.name)[:-1]}")
    changed: dict[bytes, Sets] = {}
    for one in asked.changes:
        sets = changed[one.name] if one.name in changed else content.get(one.name, {})
        changed[one.name] = _change(sets, apex, one)
    changed = {name: sets for name, sets in changed.items() if _shown(content.get(name, {})) != _shown(sets)}
    if not changed:
        return changed
    served = serial_of(content, apex)
    of_apex = {apex: changed.get(apex, content[apex])}
    if not is_newer(serial_of(of_apex, apex), served):
        changed |= with_serial(of_apex, apex, next_serial(served))
    return changed


def check_prerequisites(content: Mapping[bytes, Sets], apex: bytes, prerequisites: Iterable[Record]) -> None:
    """Check what an update says of the zone as it is (§3.2). Raises: UpdateError."""
    exact: dict[tuple[bytes, int], set[bytes]] = {}
    for one in prerequisites:
        _check_in_zone(one.name, apex)
        if one.rclass == codes.CLASS_IN:
            if one.data is None:
                raise UpdateError(codes.FORMERR, "a prerequisite without data")
            exact.setdefault((one.name, one.rtype), set()).add(_folded(one.rtype, one.data))
            continue
        if one.data is not None:
            raise UpdateError(codes.FORMERR, "data in a prerequisite that needs none")
        is_wanted = one.rclass == codes.CLASS_ANY
        if one.rtype == codes.ANY:
            rcode = codes.NXDOMAIN if is_wanted else YXDOMAIN
            is_there, what = bool(content.get(one.name)), "records"
        else:
            rcode = NXRRSET if is_wanted else YXRRSET
            is_there, what = one.rtype in content.get(one.name, {}), f"{codes.type_name(one.rtype)} records"
        if is_there != is_wanted:
            raise UpdateError(rcode, f"{to_text(one.name)[:-1]} has {'no ' if is_wanted else ''}{what}")
    for (name, rtype), data in exact.items():
        found = content.get(name, {}).get(rtype)
        if found is None or {_folded(rtype, one) for one in found[1]} != data:
            raise UpdateError(NXRRSET, f"{to_text(name)[:-1]} has other {codes.type_name(rtype)} records")


def _check_in_zone(name: bytes, apex: bytes) -> None:
    if apex not in ancestors(name):
        raise UpdateError(NOTZONE, f"{to_text(name)[:-1]} is not in the zone")


def _change(sets: Sets, apex: bytes, one: Record) -> Sets:
    """Return the record sets that a name has after a change (§3.4.2)."""
    if one.rclass == codes.CLASS_IN:
        return _add(sets, apex, one)
    if one.rclass == CLASS_NONE:
        return _remove_record(sets, apex, one)
    if one.data is not None:
        raise UpdateError(codes.FORMERR, "data of record sets to remove")
    kept = (codes.SOA, codes.NS) if one.name == apex else ()
    return {rtype: sets[rtype] for rtype in sets if rtype in kept or one.rtype not in (rtype, codes.ANY)}


def _add(sets: Sets, apex: bytes, one: Record) -> Sets:
    if one.data is None:
        raise UpdateError(codes.FORMERR, "a record without data")
    if codes.CNAME in sets if one.rtype != codes.CNAME else any(rtype != codes.CNAME for rtype in sets):
        return sets  # §3.4.2.2: silently ignored
    if one.rtype in (codes.NS, codes.DNAME) and one.name.startswith(WILDCARD):
        return sets  # a wildcard cannot delegate (RFC 4592 §4.2), nor should it redirect (RFC 6672 §3.3)
    if one.rtype == codes.SOA and not (
        one.name == apex and is_newer(soa_serial(one.data), soa_serial(sets[codes.SOA][1][0]))
    ):
        return sets
    data: tuple[bytes, ...] = (one.data,)
    if one.rtype not in _SINGLE and (found := sets.get(one.rtype)) is not None:
        data = (*_without(found, one.rtype, one.data), one.data)
        if sum(map(len, data)) + 12 * len(data) > MAX_SET_BYTES:
            raise UpdateError(codes.REFUSED, f"more records than a message can hold ({MAX_SET_BYTES} bytes)")
    return {**sets, one.rtype: (one.ttl, data)}


def _remove_record(sets: Sets, apex: bytes, one: Record) -> Sets:
    if one.data is None:
        raise UpdateError(codes.FORMERR, "a record to remove without data")
    found = sets.get(one.rtype)
    if found is None or one.rtype == codes.SOA:
        return sets
    left = _without(found, one.rtype, one.data)
    if not left and one.rtype == codes.NS and one.name == apex:
        return sets  # §3.4.2.4: the last one stays
    others = {rtype: sets[rtype] for rtype in sets if rtype != one.rtype}
    return {**others, one.rtype: (found[0], left)} if left else others


def _shown(sets: Sets) -> dict[int, tuple[int, set[bytes]]]:
    """Return record sets for comparison."""
    return {rtype: (ttl, {_folded(rtype, one) for one in data}) for rtype, (ttl, data) in sets.items()}


def _without(records: RecordSet, rtype: int, data: bytes) -> tuple[bytes, ...]:
    same = _folded(rtype, data)
    return tuple([one for one in records[1] if _folded(rtype, one) != same])


def _folded(rtype: int, data: bytes) -> bytes:
    """Return data for comparison: a name in it is the same in upper and lower case."""
    at = _NAME_AT.get(rtype)
    return data if at is None else data[:at] + data[at:].lower()
