"""Proofs that names or types do not exist: the NSEC or NSEC3 records of a zone (RFC 4034 §4, RFC 5155). Pure.

The names of a zone are kept in order: those of the zone itself and its delegations, not those below them. Records are
made of their neighbours when they are needed. Used by `dns.zone.signing`.
"""

from __future__ import annotations

from base64 import b32hexdecode
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from npserver.dns.message import codes
from npserver.dns.message.dnssec import (
    canonical_key,
    nsec3_data,
    nsec3_hash,
    nsec3_owner,
    type_bitmap,
)
from npserver.dns.message.name import ROOT, WILDCARD, parent

if TYPE_CHECKING:
    from npserver.dns.zone.tables import Denial, Node, Tables, Zone

#: The types that a zone has at a delegation; all others there are the child's, or glue.
_AT_CUT = frozenset({codes.NS, codes.DS})


def members(tables: Tables, zone: Zone) -> Iterator[Node]:
    """Yield the names of a zone: its own, its delegations, and the apexes of zones below it that are ours too."""
    for node in tables.nodes.values():
        if node.zone is zone and (node.cut is None or node.cut is node):
            yield node
    for child in tables.zones.values():
        if child.parent is zone and tables.nodes[parent(child.key)].cut_below is None:
            yield child.apex


def types_of(node: Node, zone: Zone) -> set[int]:
    """Return the types of the record sets that a zone has at a name, those of DNSSEC's proofs left out."""
    if node.zone is not zone:  # a zone of ours below this one
        return {codes.NS} if node.zone.ds is None else {codes.NS, codes.DS}
    if node.cut is not None:
        return set(_AT_CUT & node.sets.keys())
    return set(node.sets)


class NsecChain:
    """The NSEC records of a zone."""

    rtype = codes.NSEC

    __slots__ = ("_nodes", "_order", "_zone")

    def __init__(self, tables: Tables, zone: Zone) -> None:
        self._zone = zone
        found = sorted([(canonical_key(node.key), node.key, node) for node in members(tables, zone)])
        self._order = [order for order, _, _ in found]
        self._nodes = [node for _, _, node in found]

    def __repr__(self) -> str:
        return f"<NsecChain of {len(self._order)} names>"

    def place(self, name: bytes, encloser: bytes) -> int:
        """Return the index of the record that covers a missing name."""
        return self._place(name)

    def of_name(self, name: bytes) -> list[Denial]:
        """Return the record of a name; that of the name before it, for one without records above other names."""
        return [self._record(self._place(name))]

    def no_closer(self, name: bytes, encloser: bytes) -> list[Denial]:
        """Return the record that covers a missing name."""
        return [self._record(self._place(name))]

    def missing(self, name: bytes, encloser: bytes) -> list[Denial]:
        """Return the records that cover a missing name, and the wildcard below its closest encloser."""
        return [self._record(self._place(name)), self._record(self._place(WILDCARD + encloser))]

    def wildcard_without_type(self, name: bytes, wildcard: bytes) -> list[Denial]:
        """Return the record that covers a missing name, and that of the wildcard."""
        return [self._record(self._place(name)), *self.of_name(wildcard)]

    def every(self) -> Iterator[Denial]:
        """Yield all records, in the canonical order."""
        for index in range(len(self._nodes)):
            if not self._is_empty(index):
                yield self._record(index)

    def add(self, node: Node) -> None:
        """Put a new name in its place."""
        order = canonical_key(node.key)
        index = bisect_left(self._order, order)
        self._order.insert(index, order)
        self._nodes.insert(index, node)

    def remove(self, node: Node) -> None:
        """Take a name away."""
        index = bisect_left(self._order, canonical_key(node.key))
        if index < len(self._nodes) and self._nodes[index] is node:
            del self._order[index], self._nodes[index]

    def owner_of(self, name: bytes) -> bytes:
        """Return the owner of the record that a name has, or would have."""
        return name

    def at_owner(self, owner: bytes) -> bytes | None:
        """Return the data of the record of an owner; None if it has none."""
        order = canonical_key(owner)
        index = bisect_left(self._order, order)
        if index == len(self._order) or self._order[index] != order or self._is_empty(index):
            return None
        return self._record(index)[1]

    def around(self, name: bytes) -> list[Denial]:
        """Return the records that change when a name comes or goes: that at or before it, and the one before that."""
        index = self._place(name)
        before = index - 1
        while self._is_empty(before):
            before -= 1
        return [self._record(index), self._record(before)]

    def _place(self, name: bytes) -> int:
        """Return the index of the last name at or before this one that has an NSEC record."""
        index = bisect_right(self._order, canonical_key(name)) - 1
        while self._is_empty(index):
            index -= 1
        return index

    def _is_empty(self, index: int) -> bool:
        """Whether a name has no records, and exists only as others lie below it: it has no NSEC (RFC 4035 §2.3)."""
        following = index + 1
        return (
            not self._nodes[index].sets
            and following < len(self._order)
            and self._order[following].startswith(self._order[index])
        )

    def _record(self, index: int) -> Denial:
        node = self._nodes[index]
        following = index + 1
        while following < len(self._nodes) and self._is_empty(following):
            following += 1
        after = self._nodes[following % len(self._nodes)]
        types = types_of(node, self._zone) | {codes.NSEC, codes.RRSIG}
        return node.key, after.key + type_bitmap(types)


class Nsec3Chain:
    """The NSEC3 records of a zone: of all names, those without records included (RFC 5155 §7.1)."""

    rtype = codes.NSEC3

    __slots__ = ("_hashes", "_nodes", "_zone")

    def __init__(self, tables: Tables, zone: Zone) -> None:
        self._zone = zone
        self._nodes: dict[bytes, Node] = {nsec3_hash(node.key): node for node in members(tables, zone)}
        self._hashes = sorted(self._nodes)

    def __repr__(self) -> str:
        return f"<Nsec3Chain of {len(self._hashes)} names>"

    def place(self, name: bytes, encloser: bytes) -> int:
        """Return the index of the record that covers the next closer name."""
        return self._place(next_closer(name, encloser))

    def of_name(self, name: bytes) -> list[Denial]:
        """Return the record of a name."""
        return [self._record(self._place(name))]

    def no_closer(self, name: bytes, encloser: bytes) -> list[Denial]:
        """Return the record that covers the next closer name (RFC 5155 §7.2.6)."""
        return [self._record(self._place(next_closer(name, encloser)))]

    def missing(self, name: bytes, encloser: bytes) -> list[Denial]:
        """Return the record of the closest encloser, and those that cover what does not exist (RFC 5155 §7.2.2)."""
        return [
            *self.of_name(encloser),
            self._record(self._place(next_closer(name, encloser))),
            self._record(self._place(WILDCARD + encloser)),
        ]

    def wildcard_without_type(self, name: bytes, wildcard: bytes) -> list[Denial]:
        """Return the closest encloser's record, that which covers the next closer name, the wildcard's (§7.2.5)."""
        encloser = parent(wildcard)
        return [
            *self.of_name(encloser),
            self._record(self._place(next_closer(name, encloser))),
            *self.of_name(wildcard),
        ]

    def every(self) -> Iterator[Denial]:
        """Yield all records, in the order of their hashes."""
        for index in range(len(self._hashes)):
            yield self._record(index)

    def add(self, node: Node) -> None:
        """Put a new name in its place."""
        digest = nsec3_hash(node.key)
        self._nodes[digest] = node
        self._hashes.insert(bisect_left(self._hashes, digest), digest)

    def remove(self, node: Node) -> None:
        """Take a name away."""
        digest = nsec3_hash(node.key)
        if self._nodes.get(digest) is node:
            del self._nodes[digest], self._hashes[bisect_left(self._hashes, digest)]

    def owner_of(self, name: bytes) -> bytes:
        """Return the owner of the record that a name has, or would have."""
        return nsec3_owner(nsec3_hash(name), self._zone.key)

    def at_owner(self, owner: bytes) -> bytes | None:
        """Return the data of the record of an owner; None if it has none."""
        digest = b32hexdecode(owner[1:33].upper())
        return self._record(bisect_left(self._hashes, digest))[1] if digest in self._nodes else None

    def around(self, name: bytes) -> list[Denial]:
        """Return the records that change when a name comes or goes: that at or before it, and the one before that."""
        index = self._place(name)
        return [self._record(index), self._record(index - 1)]

    def _place(self, name: bytes) -> int:
        """Return the index of the last hash at or before that of this name."""
        return (bisect_right(self._hashes, nsec3_hash(name)) - 1) % len(self._hashes)

    def _record(self, index: int) -> Denial:
        digest = self._hashes[index]
        node, zone = self._nodes[digest], self._zone
        types = types_of(node, zone)
        is_signed = types - {codes.NS} if node.zone is not zone or node.cut is not None else types
        if is_signed:
            types.add(codes.RRSIG)
        following = self._hashes[(index + 1) % len(self._hashes)]
        return nsec3_owner(digest, zone.key), nsec3_data(following, type_bitmap(types))


def next_closer(name: bytes, encloser: bytes) -> bytes:
    """Return the name with one label more than the closest encloser, that `name` is or lies below (RFC 5155 §1.3)."""
    while (above := parent(name)) != encloser and above != ROOT:
        name = above
    return name


#: The kinds of chains by the word of the config.
CHAINS: Mapping[str, type[NsecChain | Nsec3Chain]] = {"nsec": NsecChain, "nsec3": Nsec3Chain}
