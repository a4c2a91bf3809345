"""TXT records that are added to the tables of a view for a time, such as the answers to a CA's challenges. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from npserver.dns.message import codes
from npserver.dns.message.name import ROOT, parent, parse_owner
from npserver.dns.zone.compile import attach
from npserver.dns.zone.tables import NO_SETS

if TYPE_CHECKING:
    from npserver.dns.zone.tables import Node, RecordSets, Tables

TTL_S = 0  # the next challenge has another text

_NOT_BESIDE_TEXTS = (codes.TXT, codes.CNAME)  # of what a wildcard has


class AddedTexts:
    """The records added to the tables of one view."""

    __slots__ = ("_before", "_made", "_tables")

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._before: list[tuple[Node, RecordSets]] = []  # nodes with the record sets that they had
        self._made: list[bytes] = []  # names that did not exist

    def __repr__(self) -> str:
        return f"<AddedTexts to {[node.key for node, _ in self._before]}>"

    def replace(self, texts: Mapping[str, Sequence[str]]) -> bool:
        """Add these texts, by name, in place of those added before. Return whether the tables have changed.

        Names outside the zones, delegated names and aliases are left alone: they are answered elsewhere.
        """
        changed = bool(self._before)
        self._withdraw()
        for name, values in texts.items():
            if values and self._add(parse_owner(name).lower(), values):
                changed = True
        return changed

    def _withdraw(self) -> None:
        for node, sets in reversed(self._before):
            node.sets = sets
            if (signing := node.zone.signing) is not None:
                signing.untrack()
        for key in self._made:
            node = self._tables.nodes.pop(key)
            if (signing := node.zone.signing) is not None:
                signing.remove(node)
        self._before.clear()
        self._made.clear()

    def _add(self, key: bytes, values: Sequence[str]) -> bool:
        tables = self._tables
        missing, above = [], key
        while above not in tables.nodes:
            missing.append(above)
            if above == ROOT:
                return False
            above = parent(above)
        if not missing and codes.CNAME in tables.nodes[key].sets:
            return False
        if (tables.nodes[above].cut_below if missing else tables.nodes[above].cut) is not None:
            return False
        tables.longest_key = max(tables.longest_key, len(key))
        self._made += missing
        node = attach(tables.nodes, key)
        if (signing := node.zone.signing) is not None:
            signing.untrack()
            for one in missing:
                signing.add(tables.nodes[one])
        self._before.append((node, NO_SETS if missing else node.sets))
        if (wildcard := tables.nodes[above].wildcard) is not None:
            self._go_on(missing, wildcard)
        ttl, data = node.sets.get(codes.TXT, (TTL_S, ()))
        added = tuple([bytes((len(value),)) + value.encode("ascii") for value in values])
        node.sets = {**node.sets, codes.TXT: (min(ttl, TTL_S), (*data, *added))}
        return True

    def _go_on(self, missing: Sequence[bytes], wildcard: Node) -> None:
        """Let a wildcard go on to answer for the names that are made: names that exist are none of its (RFC 4592 §2.2).

        `missing`: the name with the texts, which has no others, then those above it.
        """
        for number, key in enumerate(missing):
            made, sets = self._tables.nodes[key], wildcard.sets
            made.sets = sets if number else {rtype: sets[rtype] for rtype in sets if rtype not in _NOT_BESIDE_TEXTS}
            made.wildcard = wildcard
