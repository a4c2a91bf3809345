"""Answers with signatures and proofs, for queries with the DO bit, where a view has signed zones (RFC 4035 §3.1).

A proof that a name does not exist fits all names between the same two of the zone: random names cost as many answers as
the zone has names, for each length, and no more signatures than its NSEC or NSEC3 records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from npserver.dns.message import codes
from npserver.dns.message.name import MAX_LABEL_BYTES, parent
from npserver.dns.zone.lookup import Claim, NameStatus, Records, Sections
from npserver.dns.zone.responder import PLAIN, Responder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from npserver.dns.zone.answer import CompiledAnswer
    from npserver.dns.zone.tables import Denial, Node, Signing


class SignedResponder(Responder):
    """The responder for queries that ask for signatures. Zones that are not signed are answered as ever."""

    __slots__ = ()

    max_answers: ClassVar[int] = 50_000  # some 2 KB each

    def answer(
        self, key: bytes, type_and_class: bytes, *, minimal_any: bool = False
    ) -> CompiledAnswer | None:  # hot: dns-signed-missing
        """Return the answer to a question, as `Responder.answer`."""
        if key not in self.tables.nodes and (rtype := PLAIN.get(type_and_class)) is not None:
            above = self.tables.nodes.get(key[key[0] + 1 :])  # fast path: its parent exists, and has no wildcard
            if above is not None and above.wildcard is None and above.cut is None and key[0] <= MAX_LABEL_BYTES:
                zone = above.zone
                if (signing := zone.signing) is not None:
                    place = zone, len(key), rtype, above, signing.chain.place(key, above.key)
                    if (found := self._shared.get(place)) is not None:
                        return found
        return super().answer(key, type_and_class, minimal_any=minimal_any)

    def _place(self, place: tuple[object, ...], key: bytes, status: NameStatus, node: Node) -> tuple[object, ...]:
        signing = node.zone.signing
        if signing is None or status is NameStatus.DELEGATED:
            return place
        if status is NameStatus.EXISTS:
            return (*place, node)
        encloser = node.key if status is NameStatus.MISSING else parent(node.key)
        return (*place, node, signing.chain.place(key, encloser))

    def _complete(self, sections: Sections) -> Sections:
        return secured(sections)

    def _is_single(self, node: Node, rtype: int) -> bool:
        return node.zone.signing is None and super()._is_single(node, rtype)


def secure(responder: Responder) -> None:
    """Have a responder answer queries that ask for signatures, if any of its zones is signed."""
    tables = responder.tables
    if responder.secure is responder and any(zone.signing is not None for zone in tables.zones.values()):
        responder.secure = SignedResponder(tables, responder.tallies, is_recursive=responder.is_recursive)


def secured(sections: Sections) -> Sections:
    """Return sections with the signatures of their records, and with the proofs that they need."""
    proofs: list[Records] = []
    for claim, name, node in sections.claims:
        signing = node.zone.signing
        if signing is None:
            continue
        if claim is Claim.NO_DS and (ds := node.sets.get(codes.DS)) is not None:
            proofs.append(Records(name, codes.DS, *ds, node))
            continue
        for denial in _denials(signing, claim, name, node):
            one = Records(denial[0], signing.chain.rtype, *signing.denial_set(denial), node.zone.apex)
            if one not in proofs:
                proofs.append(one)
    return Sections(
        sections.rcode,
        sections.is_authoritative,
        list(_signed(sections.answer)),
        list(_signed([*sections.authority, *proofs])),
        list(_signed(sections.additional)),
        sections.needs_additional,
        sections.outside,
    )


def _denials(signing: Signing, claim: Claim, name: bytes, node: Node) -> list[Denial]:
    """Return the NSEC or NSEC3 records that prove a claim."""
    chain = signing.chain
    if claim is Claim.MISSING:
        return chain.missing(name, node.key)
    if claim is Claim.EXPANDED:
        return chain.no_closer(name, parent(node.key))
    if claim is Claim.EXPANDED_NO_TYPE:
        return chain.wildcard_without_type(name, node.key)
    return chain.of_name(name)


def _signed(records: Sequence[Records]) -> Iterator[Records]:
    """Yield records, each set followed by its signatures."""
    for one in records:
        yield one
        source = one.source
        if source is None or one.rtype == codes.RRSIG or (signing := source.zone.signing) is None:
            continue
        owner, of_zone = source.key, (one.ttl, one.data)
        if one.rtype == codes.SOA:
            of_zone = source.zone.soa  # in negative answers its TTL is smaller (RFC 2308 §5)
        elif one.rtype == signing.chain.rtype and one.owner is not None and source is source.zone.apex:
            owner = one.owner  # a proof; one that was asked for may be that of a wildcard
        if signatures := signing.sign(owner, one.rtype, of_zone):
            yield Records(one.owner, codes.RRSIG, one.ttl, signatures)
