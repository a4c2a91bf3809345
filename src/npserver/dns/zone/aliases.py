"""ALIAS records: a name has the addresses of another name, as if they were its own. Pure.

They are no type of the protocol: clients see A and AAAA records (as with PowerDNS). They stand where a CNAME may not,
such as at the apex of a zone. The addresses of names in our zones are looked up there; those of others are asked for
by `nameserver.aliases.service`. A record set without data means that the addresses are not known: SERVFAIL is answered.
"""

from __future__ import annotations

from collections.abc import Mapping

from npserver.dns.message import codes
from npserver.dns.zone.lookup import look_up
from npserver.dns.zone.tables import AliasSet, RecordSet, Tables

ADDRESS_TYPES = (codes.A, codes.AAAA)

#: The addresses of others' names, by name and type: without data if there are none, missing if they are not known.
Known = Mapping[tuple[bytes, int], RecordSet]


def refresh_aliases(tables: Tables, known: Known) -> bool:
    """Give each name with an ALIAS the addresses of its target. Return whether any have changed."""
    changed = False
    for one in tables.alias_sets:
        for rtype in ADDRESS_TYPES:
            records = _addresses(tables, one, rtype, known)
            if records != one.node.sets.get(rtype):
                sets = {other: kept for other, kept in one.node.sets.items() if other != rtype}
                one.node.sets = sets if records is None else {**sets, rtype: records}
                changed = True
    return changed


def names_outside(tables: Tables) -> dict[bytes, AliasSet]:
    """Return the names that the targets lead to and that are in none of our zones, with an ALIAS of each."""
    found: dict[bytes, AliasSet] = {}
    for one in tables.alias_sets:
        for rtype in ADDRESS_TYPES:
            _, outside = _look_up(tables, one, rtype)
            if outside is not None:
                found.setdefault(outside, one)
    return found


def _addresses(tables: Tables, one: AliasSet, rtype: int, known: Known) -> RecordSet | None:
    """Return the record set of a type; None if the target has none."""
    records, outside = _look_up(tables, one, rtype)
    if outside is not None:
        records = known.get((outside, rtype), (one.ttl, ()))
        if (outside, rtype) in known and not records[1]:
            return None
    return None if records is None else (min(records[0], one.ttl), records[1])


def _look_up(tables: Tables, one: AliasSet, rtype: int) -> tuple[RecordSet | None, bytes | None]:
    """Return the addresses that our zones have of a target, and the name outside them that it leads to, if it does."""
    sections = look_up(tables, one.target, rtype)
    if sections is None or sections.outside is not None:
        return None, (sections.outside if sections is not None else None) or one.target
    if sections.rcode == codes.SERVFAIL:
        return (one.ttl, ()), None
    if not sections.answer or sections.answer[-1].rtype != rtype:
        return None, None
    return (min([records.ttl for records in sections.answer]), sections.answer[-1].data), None
