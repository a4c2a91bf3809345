"""Changes the tables of a view in place, while they are served: record sets that come and go, and what follows.

Names between a new one and its zone come to exist, and go with it (RFC 4592 §2.2.2); wildcards and cuts are noted at
other names. Answers that were made before are dropped by the caller. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from npserver.dns.message import codes
from npserver.dns.message.name import ROOT, WILDCARD, parent
from npserver.dns.zone.compile import attach
from npserver.dns.zone.content import Content, SetChange
from npserver.dns.zone.presigned import attach_proofs, is_proof
from npserver.dns.zone.signed_journal import most_steps
from npserver.dns.zone.signing import ZoneSigning
from npserver.dns.zone.tables import Node, Tables, Zone, ancestors

MAX_CUTS = 20  # that change at once, for a transfer of the changes of a signed zone alone


class TableChanger:
    """Changes the tables of one view."""

    # _children  how many names are directly below each name

    __slots__ = ("_children", "tables")

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self._children = Counter([parent(key) for key in tables.nodes if key != ROOT])

    def __repr__(self) -> str:
        return f"<TableChanger of {len(self.tables.nodes)} names>"

    def apply(self, apex: bytes, changes: Sequence[SetChange], content: Content) -> None:
        """Make changes in the zone of an apex, which is in the tables. `content`: that they lead to."""
        tables = self.tables
        zone = tables.zones[apex]
        signing = zone.signing if isinstance(zone.signing, ZoneSigning) else None
        affected = self._affected(zone, changes) if signing is not None else None
        observed = signing.observe(affected) if signing is not None and affected is not None else None
        cuts_changed = False
        for one in changes:
            if is_proof(one.rtype) or next(above for above in ancestors(one.name) if above in tables.zones) != apex:
                continue  # it has no node, or the zone below that is ours too decides about it
            node = tables.nodes.get(one.name)
            if one.after is not None:
                node = self._with_node(one.name) if node is None else node
                node.sets = {**node.sets, one.rtype: one.after}
            elif node is not None:
                node.sets = {rtype: records for rtype, records in node.sets.items() if rtype != one.rtype}
                if not node.sets:
                    self._remove(node)
            if one.rtype == codes.SOA and one.name == apex and one.after is not None:
                zone.set_soa(one.after)
            cuts_changed = cuts_changed or one.rtype == codes.DNAME or (one.rtype == codes.NS and one.name != apex)
        if cuts_changed:
            self._set_cuts(apex)
        attach_proofs(tables, zone, content, changes)
        if signing is not None:
            signing.note(observed, "content")

    def _affected(self, zone: Zone, changes: Sequence[SetChange]) -> set[bytes] | None:
        """Return the names whose records, signatures and proofs changes are about; None if these are too many."""
        if len(changes) > most_steps(self.tables):
            return None
        names = {above for one in changes for above in ancestors(one.name) if len(above) >= len(zone.key)}
        cuts = [one.name for one in changes if one.rtype in (codes.NS, codes.DNAME) and one.name != zone.key]
        if len(cuts) > MAX_CUTS:
            return None
        if cuts:
            keys = [node.key for node in self.tables.nodes.values() if node.zone is zone]
            names |= {key for key in keys if any(key.endswith(cut) for cut in cuts)}
        return names

    def _with_node(self, key: bytes) -> Node:
        """Make the node of a name, and those above it that are missing."""
        tables, name, missing = self.tables, key, []
        while name not in tables.nodes:
            missing.append(name)
            name = parent(name)
            self._children[name] += 1
        tables.longest_key = max(tables.longest_key, len(key))
        node = attach(tables.nodes, key)
        if (signing := node.zone.signing) is not None:
            for name in missing:
                signing.add(tables.nodes[name])
        return node

    def _remove(self, node: Node) -> None:
        """Remove a node without records, and those above it that were there for it alone."""
        nodes = self.tables.nodes
        while not node.sets and not self._children[node.key] and node is not node.zone.apex:
            above = nodes[parent(node.key)]
            del nodes[node.key]
            if (signing := node.zone.signing) is not None:
                signing.remove(node)
            del self._children[node.key]
            self._children[above.key] -= 1
            if above.wildcard is node:
                above.wildcard = None
            node = above

    def _set_cuts(self, apex: bytes) -> None:
        """Note the cuts of a zone anew at all of its names."""
        nodes = self.tables.nodes
        zone = self.tables.zones[apex]
        of_zone = [node for node in nodes.values() if node.zone is zone]
        for node in sorted(of_zone, key=lambda node: len(node.key)):
            node.wildcard = node if codes.DNAME in node.sets else nodes.get(WILDCARD + node.key)
            if node is not zone.apex:
                inherited = nodes[parent(node.key)].cut_below
                node.cut = inherited or (node if codes.NS in node.sets else None)
        if zone.signing is not None:
            zone.signing.forget_names()
