"""The records of a zone that is signed here, as secondaries get them: all with their signatures, or what has changed.

Signatures that were renewed meanwhile are among what has changed. They are made as the records are taken. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from npserver.dns.message import codes
from npserver.dns.zone.lookup import Records
from npserver.dns.zone.signed_journal import SignedStep, SignedVersion, is_signed_at
from npserver.dns.zone.tables import RecordSet, Signing, Tables, Zone

if TYPE_CHECKING:
    from npserver.dns.zone.signing import ZoneSigning


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


# ── what has changed ──

#: One record set: its name and type, and the step from what the client has.
Change = tuple[bytes, int, SignedStep]


def signed_difference(tables: Tables, zone: Zone, signing: ZoneSigning, serial: int) -> Iterator[Records] | None:
    """Return the records that lead from a serial to the zone as it is now; None if the whole zone is to be sent."""
    found = signing.journal.since(serial)
    if found is None or not signing.journal.follows(zone.shown_serial):
        return None
    if any(child.parent is zone for child in tables.zones.values()):
        return None  # what the zone has of zones below it that are ours changes without its serial
    version, steps = found
    signers = [[key.tag for key in keys.of_zone] for keys in (version.keys, signing.keys)]
    if signers[0] != signers[1] or version.negative_ttl != zone.negative_ttl:
        return None  # all signatures, or those of all proofs, are others
    changes = [(*place, step) for place, step in steps.items()]
    if version.day != signing.day:
        if 2 * abs(signing.day - version.day) > signing.period_days:
            return None
        changes += _renewed(tables, zone, signing, version.day, steps)
    return _Difference(zone, signing, version).records(changes)


def _renewed(
    tables: Tables, zone: Zone, signing: ZoneSigning, day: int, steps: dict[tuple[bytes, int], SignedStep]
) -> Iterator[Change]:
    """Yield the record sets that have not changed, but have other signatures than on a former day."""
    sets = [
        (node.key, rtype, records)
        for node in tables.nodes.values()
        if node.zone is zone
        for rtype, records in node.sets.items()
        if is_signed_at(node, rtype) and (rtype != codes.SOA or node is not zone.apex)
    ]
    rtype = signing.chain.rtype
    sets += [(owner, rtype, signing.denial_set((owner, data))) for owner, data in signing.chain.every()]
    for name, rtype, records in sets:
        if (name, rtype) not in steps and signing.is_renewed(name, rtype, day):
            yield name, rtype, SignedStep((records, True), (records, True))


_State = tuple["RecordSet", bool] | None
_Sign = Callable[[bytes, int, "RecordSet"], tuple[bytes, ...]]


def _without(data: tuple[bytes, ...], known: tuple[bytes, ...]) -> tuple[bytes, ...]:
    others = set(known)
    return tuple([one for one in data if one not in others])


class _Difference:
    """One difference sequence (RFC 1995 §4): of the zone as it was when the transfer began."""

    def __init__(self, zone: Zone, signing: ZoneSigning, version: SignedVersion) -> None:
        self._apex = zone.key
        self._soa = zone.soa
        self._keys, self._day = signing.keys, signing.day
        self._signing = signing
        self._version = version

    def records(self, changes: list[Change]) -> Iterator[Records]:
        """Yield the records, with the SOA that begins and ends the transfer."""
        apex, version = self._apex, self._version
        soa = Records(apex, codes.SOA, *self._soa)
        changes = [*changes, (apex, codes.SOA, SignedStep((version.soa, True), (self._soa, True)))]
        yield soa
        yield Records(apex, codes.SOA, *version.soa)
        for name, rtype, step in changes:
            yield from self._one_way(name, rtype, step.before, step.after, self._before, self._after)
        yield soa
        for name, rtype, step in changes:
            yield from self._one_way(name, rtype, step.after, step.before, self._after, self._before)
        yield soa

    def _one_way(
        self, name: bytes, rtype: int, these: _State, others: _State, sign_these: _Sign, sign_others: _Sign
    ) -> Iterator[Records]:
        """Yield the records of a set, and its signatures, that it has not the other way round."""
        if these is None:
            return
        (ttl, data), is_signed = these
        other = others[0][1] if others is not None and others[0][0] == ttl else None
        is_soa = rtype == codes.SOA and name == self._apex
        if not is_soa and (left := _without(data, other or ())):
            yield Records(name, rtype, ttl, left)
        if is_signed:
            signatures = sign_these(name, rtype, these[0])
            known = sign_others(name, rtype, (ttl, other)) if other and others is not None and others[1] else ()
            if left := _without(signatures, known):
                yield Records(name, codes.RRSIG, ttl, left)

    def _before(self, name: bytes, rtype: int, records: RecordSet) -> tuple[bytes, ...]:
        return self._signing.sign_as_of(self._version.keys, self._version.day, name, rtype, records)

    def _after(self, name: bytes, rtype: int, records: RecordSet) -> tuple[bytes, ...]:
        if self._keys is self._signing.keys and self._day == self._signing.day:
            return self._signing.sign(name, rtype, records)  # which are kept
        return self._signing.sign_as_of(self._keys, self._day, name, rtype, records)
