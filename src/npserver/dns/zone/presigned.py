"""Zones that another server has signed: their signatures and proofs, served as they were received (RFC 4035 §3.1).

The records of such a zone are a `Content`, of which RRSIG, NSEC and NSEC3 records are kept out of the tables' nodes: no
name exists because of them. Answers with the DO bit get them from here. Pure; made by `dns.zone.compile` and
`dns.zone.changing`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from npserver.dns.message import codes
from npserver.dns.zone.content import Content, SetChange, signature_type, wire_type
from npserver.dns.zone.given_denial import GivenNsec, GivenNsec3, nsec3_parameters

if TYPE_CHECKING:
    from npserver.dns.zone.tables import Denial, Node, RecordSet, Tables, Zone

_PROOFS = frozenset({codes.RRSIG, codes.NSEC, codes.NSEC3})


def is_signed(content: Content, apex: bytes) -> bool:
    """Whether the records of a zone are signed: its SOA is."""
    return signature_type(codes.SOA) in content.get(apex, {})


def is_proof(rtype: int) -> bool:
    """Whether a type of a `Content` is of signatures or proofs, which have no node."""
    return wire_type(rtype) in _PROOFS


def without_proofs(content: Content) -> Content:
    """Return the records of a zone that its nodes have."""
    found: Content = {}
    for name, sets in content.items():
        plain = {one: sets[one] for one in sets if not is_proof(one)} if any(map(is_proof, sets)) else sets
        if plain:
            found[name] = plain
    return found


def attach_proofs(tables: Tables, zone: Zone, content: Content, changes: Iterable[SetChange] = ()) -> None:
    """Have a zone answer with the proofs of a content, if that is signed.

    `changes`: what has led to it from the content before, if there was one.
    """
    given = zone.signing if isinstance(zone.signing, PresignedZone) else None
    if not is_signed(content, zone.key):
        if given is not None:
            zone.signing = None
            _set_ds(tables, zone, {})
        return
    if given is not None:
        given.replace(content, changes)
    else:
        zone.signing = PresignedZone(zone.key, content)
    _set_ds(tables, zone, content)


def _set_ds(tables: Tables, zone: Zone, content: Content) -> None:
    """Give the zones below that are ours too the DS records that this one has of them."""
    for child in tables.zones.values():
        if child.parent is zone:
            child.ds = content.get(child.key, {}).get(codes.DS)


class PresignedZone:
    """The signatures and proofs of a zone, as `dns.zone.tables.Signing`. `content`: all of its records."""

    is_given = True

    __slots__ = ("_apex", "_parameters", "chain", "content")

    def __init__(self, apex: bytes, content: Content) -> None:
        self._apex = apex
        self._begin(content)

    def __repr__(self) -> str:
        return f"<PresignedZone {self._apex!r} {self.chain!r}>"

    def _begin(self, content: Content) -> None:
        self.content = content
        self._parameters = nsec3_parameters(content, self._apex)
        self.chain: GivenNsec | GivenNsec3 = (
            GivenNsec(content) if self._parameters is None else GivenNsec3(content, self._apex, self._parameters)
        )

    def replace(self, content: Content, changes: Iterable[SetChange]) -> None:
        """Go on to another content, to which these changes lead."""
        if nsec3_parameters(content, self._apex) != self._parameters:
            self._begin(content)
            return
        self.content = self.chain.content = content
        for one in changes:
            if one.rtype == self.chain.rtype:
                self.chain.note(one.name)

    @property
    def own_types(self) -> Collection[int]:
        """The types that each name has by being signed, beside a CNAME too (RFC 4034 §3, §4)."""
        return (codes.RRSIG, codes.NSEC) if self._parameters is None else (codes.RRSIG,)

    def sign(self, owner: bytes, rtype: int, records: RecordSet) -> tuple[bytes, ...]:
        """Return the data of the RRSIG records of a record set; none if it has none."""
        return self.content.get(owner, {}).get(signature_type(rtype), (0, ()))[1]

    def sign_apex(self) -> None:
        """Do nothing: the apex has what it came with."""

    def denial_set(self, denial: Denial) -> RecordSet:
        """Return an NSEC or NSEC3 record as a record set."""
        return self.content[denial[0]][self.chain.rtype][0], (denial[1],)

    def own_denial(self, name: bytes) -> RecordSet | None:
        """Return the NSEC record of a name that exists, if it has one."""
        return self.content.get(name, {}).get(codes.NSEC) if self._parameters is None else None

    def signatures_at(self, node: Node) -> list[RecordSet]:
        """Return the RRSIG records of all record sets of a name, by the TTLs of these."""
        sets = self.content.get(node.key, {})
        return [records for rtype, records in sets.items() if wire_type(rtype) == codes.RRSIG]

    def untrack(self) -> None:
        """Do nothing: what is sent is what has come."""

    def add(self, node: Node) -> None:
        """Do nothing: the proofs of a name come with it."""

    def remove(self, node: Node) -> None:
        """Do nothing: the proofs of a name go with it."""

    def forget_names(self) -> None:
        """Do nothing: delegations come with their proofs."""
