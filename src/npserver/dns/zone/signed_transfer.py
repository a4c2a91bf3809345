"""The records of a signed zone as a secondary gets them: with all signatures and all NSEC or NSEC3 records. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from npserver.dns.message import codes
from npserver.dns.zone.lookup import Records
from npserver.dns.zone.signed_journal import is_signed_at
from npserver.dns.zone.tables import RecordSet, Signing, Tables, Zone


def signed_records(tables: Tables, zone: Zone, signing: Signing) -> Iterator[Records]:
    """Return the record sets of a zone but its SOA, each with its signatures; of the zone as it is now."""
    chain = signing.chain
    content: list[tuple[bytes, int, RecordSet, bool]] = []  # name, type, records, whether they are signed
    for node in tables.zone_nodes(zone):
        for rtype, records in node.sets.items():
            content.append((node.key, rtype, records, is_signed_at(node, rtype)))
    for child in tables.zones.values():
        if child.parent is zone:
            content += _delegation(tables, child)
    content += [(one[0], chain.rtype, signing.denial_set(one), True) for one in chain.every()]
    return _signed(content, signing)


def _signed(content: list[tuple[bytes, int, RecordSet, bool]], signing: Signing) -> Iterator[Records]:
    for name, rtype, (ttl, data), is_signed in content:
        if not data:  # of an ALIAS whose addresses are not known
            continue
        if rtype != codes.SOA:
            yield Records(name, rtype, ttl, data)
        if is_signed:
            yield Records(name, codes.RRSIG, ttl, signing.sign(name, rtype, (ttl, data)))


def _delegation(tables: Tables, child: Zone) -> Iterator[tuple[bytes, int, RecordSet, bool]]:
    """Yield what a zone has of one below it that is ours too: its name servers, with their addresses, and its DS."""
    servers = child.apex.sets.get(codes.NS)
    if servers is not None:
        yield child.key, codes.NS, servers, False
        for server in servers[1]:
            node = tables.nodes.get(server.lower())
            if node is not None and node.zone is child:
                for rtype in (codes.A, codes.AAAA):
                    if (addresses := node.sets.get(rtype)) is not None:
                        yield node.key, rtype, addresses, False
    if child.ds is not None:
        yield child.key, codes.DS, child.ds, True
