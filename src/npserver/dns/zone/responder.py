"""Answers of one view, made when first asked for and remembered; transport-independent.

Answers to names that exist are kept by name, type and class. All others are shared: an answer depends on the asked
name only by its length (see `dns.zone.answer`), so random names of a zone cost one made answer per length.
"""

from __future__ import annotations

from struct import pack

from npserver.dns.message import codes
from npserver.dns.message.name import MAX_LABEL_BYTES, parent
from npserver.dns.zone.answer import QR, CompiledAnswer, compile_answer, compile_plain
from npserver.dns.zone.lookup import Sections, Standing, find, look_up
from npserver.dns.zone.tables import Node, Tables

MAX_ANSWERS = 200_000  # remembered of each kind; some 500 bytes each
#: Type and class as they stand in a question, of the types that are plain data, in class IN.
_PLAIN = {
    pack("!HH", kind, codes.CLASS_IN): kind
    for kind in codes.TYPE_NAMES
    if kind not in (codes.AXFR, codes.IXFR, codes.ANY, codes.DS)
}

#: Types whose data holds no names to be compressed or looked up.
_WITHOUT_NAMES = frozenset({codes.A, codes.AAAA, codes.TXT, codes.CAA})

#: Counts by type and rcode, each in a list of one number.
Tallies = dict[tuple[str, str], list[int]]


class Responder:
    """Finds or makes the answer to a question."""

    __slots__ = ("_shared", "answers", "refusals", "tables", "tallies")

    def __init__(self, tables: Tables, tallies: Tallies) -> None:
        self.tables = tables
        self.tallies = tallies
        self.answers: dict[bytes, CompiledAnswer] = {}  # by lower-case name, type and class
        self._shared: dict[tuple[object, ...], CompiledAnswer] = {}
        self.refusals: dict[tuple[str, int], CompiledAnswer] = {}

    def __repr__(self) -> str:
        return f"<Responder {len(self.tables.zones)} zones, {len(self.answers)} answers>"

    def forget(self) -> None:
        """Make all answers anew: the tables have changed."""
        self.answers.clear()
        self._shared.clear()

    def refusal(self, kind: int, rcode: int) -> CompiledAnswer:
        """An answer without records."""
        name = codes.TYPE_NAMES.get(kind, "other")
        answer = self.refusals.get((name, rcode))
        if answer is None:
            label = codes.rcode_name(rcode).encode()
            answer = CompiledAnswer(QR | rcode & 0xF, (0, 0, 0), (b"",), label, self.tally(kind, rcode))
            self.refusals[name, rcode] = answer
        return answer

    def tally(self, kind: int, rcode: int) -> list[int]:
        """The count for a type and rcode."""
        return self.tallies.setdefault((codes.TYPE_NAMES.get(kind, "other"), codes.rcode_name(rcode)), [0])

    def answer(
        self, key: bytes, tail: bytes, *, minimal_any: bool = False
    ) -> CompiledAnswer | None:  # hot: dns-missing
        """Answer a name and the type and class after it; None if the name is in none of our zones.

        `key`, in lower case, ends in its first zero byte; `tail` has 4 bytes. Raises: ValueError if `key` is no name.
        """
        kind = _PLAIN.get(tail)
        if kind is not None:  # the commonest: records, no such name below one that exists, no such type
            denial = None
            node = self.tables.nodes.get(key)
            if node is None:
                length = key[0]
                above = self.tables.nodes.get(key[length + 1 :])
                if above is not None and above.star is None and above.cut is None and length <= MAX_LABEL_BYTES:
                    denial = self._shared.get((above.zone, len(key), kind))
            elif node.cut is None:
                if kind in node.sets:
                    return self._make(node, key, tail, kind, minimal_any)
                if codes.CNAME not in node.sets:
                    denial = self._shared.get((node.zone, len(key), ~kind))
            if denial is not None:
                return denial
        return self._find(key, tail, minimal_any)

    def _find(self, key: bytes, tail: bytes, minimal_any: bool) -> CompiledAnswer | None:
        standing, node = find(self.tables, key)
        kind, of_class = tail[0] << 8 | tail[1], tail[2] << 8 | tail[3]
        if of_class not in (codes.CLASS_IN, codes.CLASS_ANY):
            return self.refusal(kind, codes.REFUSED)
        if node is None:
            return None
        if kind in (codes.AXFR, codes.IXFR):
            return self.refusal(kind, codes.REFUSED)
        sets = node.sets
        is_itself = standing is Standing.EXISTS or node.key == key
        if is_itself and (kind in sets or codes.CNAME in sets or kind in (codes.DS, codes.ANY)):
            return self._make(node, key, tail, kind, minimal_any)
        size = len(key)
        counted = kind if kind in codes.TYPE_NAMES else 0
        if of_class == codes.CLASS_ANY:
            counted, kind_and_class = counted | 0x10000, kind | 0x10000
        else:
            kind_and_class = kind
        place: tuple[object, ...]
        if standing is Standing.MISSING:
            place = (node.zone, size, counted)
        elif standing is Standing.DELEGATED:
            place = (node, size, counted)
        elif kind in sets or codes.CNAME in sets or (kind == codes.ANY and sets):
            place = (node, size, kind_and_class, minimal_any)
        else:
            place = (node.zone, size, ~counted)
        answer = self._shared.get(place)
        if answer is None:
            sections = look_up(self.tables, key, kind, (standing, node), minimal_any=minimal_any) or Sections()
            sections.is_authoritative &= of_class == codes.CLASS_IN
            answer = self._share(place, key, kind, (standing, node), sections)
        return answer

    def _make(self, node: Node, key: bytes, tail: bytes, kind: int, minimal_any: bool) -> CompiledAnswer:
        place = key + tail
        if kind == codes.ANY:  # depends on the transport: processors must not find it by the question alone
            place += b"minimal" if minimal_any else b"full"
        answer = self.answers.get(place)
        if answer is None:
            records = node.sets.get(kind)
            if records is not None and kind in _WITHOUT_NAMES and node.cut is None and tail[3] == codes.CLASS_IN:
                answer = compile_plain(kind, *records, key, self.tally(kind, codes.NOERROR))
            else:
                sections = look_up(self.tables, key, kind, minimal_any=minimal_any) or Sections()
                sections.is_authoritative &= tail[3] == codes.CLASS_IN  # RFC 1034 §4.3.2: never for QCLASS=*
                answer = compile_answer(sections, key, len(key), key, self.tally(kind, sections.rcode))
            if len(self.answers) >= MAX_ANSWERS:
                self.answers.clear()
            self.answers[place] = answer
        return answer

    def _share(
        self, place: tuple[object, ...], key: bytes, kind: int, found: tuple[Standing, Node], sections: Sections
    ) -> CompiledAnswer:
        standing, node = found
        if standing is Standing.DELEGATED:
            suffix = node.key
        elif standing is Standing.WILDCARD and sections.answer:
            suffix = parent(node.key)
        else:
            suffix = node.zone.key
        answer = compile_answer(sections, suffix, len(key), suffix, self.tally(kind, sections.rcode))
        if len(self._shared) >= MAX_ANSWERS:
            self._shared.clear()
        self._shared[place] = answer
        return answer
