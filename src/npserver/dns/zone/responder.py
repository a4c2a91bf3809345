"""Answers to the questions of one view's clients, compiled when first asked for and cached.

Answers for names that exist are cached by name, type and class. All others are shared: they depend on the name only by
its length (see `dns.zone.answer`), so that random names in a zone cost one compiled answer per length. Independent of
transports.
"""

from __future__ import annotations

from struct import pack
from typing import ClassVar

from npserver.dns.message import codes
from npserver.dns.message.header import QR
from npserver.dns.message.name import MAX_LABEL_BYTES, parent
from npserver.dns.zone.answer import CompiledAnswer, compile_answer, compile_single_set
from npserver.dns.zone.lookup import MADE_BY_SIGNING, NameStatus, Sections, find, look_up
from npserver.dns.zone.tables import Node, Tables

MAX_ANSWERS = 200_000  # kept in each of the caches; some 500 bytes each
MAX_REDIRECTED = 10_000  # answers kept for names below DNAMEs, of which there are as many as clients make up
#: The types that are answered from a node's record sets alone, by the bytes of type and class (IN) in a question.
PLAIN = {
    pack("!HH", rtype, codes.CLASS_IN): rtype
    for rtype in codes.TYPE_NAMES
    if rtype not in (codes.AXFR, codes.IXFR, codes.ANY, codes.DS, *MADE_BY_SIGNING)
}
#: The types that each name has an answer of its own for.
_OWN = frozenset({codes.DS, codes.ANY, *MADE_BY_SIGNING})

#: Types whose data holds no names that could be compressed or looked up.
_WITHOUT_NAMES = frozenset({codes.A, codes.AAAA, codes.TXT, codes.CAA})

#: How often answers were sent, by names of type and rcode, each in a list of one number.
Tallies = dict[tuple[str, str], list[int]]


class Responder:
    """Finds answers in a cache, or looks them up and compiles them.

    Args:
        tables: of the view.
        tallies: shared by the responders of all views.
        is_recursive: whether it is for clients for whom answers that end outside our zones are completed.
    """

    __slots__ = (
        "_leading_out",
        "_redirected",
        "_shared",
        "answers",
        "is_recursive",
        "refusals",
        "secure",
        "tables",
        "tallies",
    )

    max_answers: ClassVar[int] = MAX_ANSWERS  # kept in each of the caches

    def __init__(self, tables: Tables, tallies: Tallies, *, is_recursive: bool = False) -> None:
        self.tables = tables
        #: Answers the queries that ask for signatures (DO): this one, if no zone is signed.
        self.secure: Responder = self
        self.is_recursive = is_recursive
        self.tallies = tallies
        self.answers: dict[bytes, CompiledAnswer] = {}  # by lower-case name, type and class
        self._leading_out: dict[bytes, CompiledAnswer] = {}  # as `answers`, those that end outside our zones
        self._shared: dict[tuple[object, ...], CompiledAnswer] = {}
        self._redirected: dict[bytes, CompiledAnswer] = {}  # as `answers`, of names below a DNAME
        self.refusals: dict[tuple[str, int], CompiledAnswer] = {}

    def __repr__(self) -> str:
        return f"<Responder {len(self.tables.zones)} zones, {len(self.answers)} answers>"

    def replace_tables(self, tables: Tables) -> None:
        """Answer from other tables from now on."""
        self.tables = self.secure.tables = tables
        self.clear()

    def clear(self) -> None:
        """Drop all cached answers, after the tables have changed."""
        self.answers.clear()
        self._leading_out.clear()
        self._shared.clear()
        self._redirected.clear()
        if self.secure is not self:
            self.secure.clear()

    def refusal(self, rtype: int, rcode: int) -> CompiledAnswer:
        """Return an answer without records."""
        name = codes.TYPE_NAMES.get(rtype, "other")
        answer = self.refusals.get((name, rcode))
        if answer is None:
            label = codes.rcode_name(rcode).encode()
            answer = CompiledAnswer(QR | rcode & 0xF, (0, 0, 0), (b"",), label, self.tally(rtype, rcode))
            self.refusals[name, rcode] = answer
        return answer

    def tally(self, rtype: int, rcode: int) -> list[int]:
        """Return the tally of answers with this type and rcode."""
        return self.tallies.setdefault((codes.TYPE_NAMES.get(rtype, "other"), codes.rcode_name(rcode)), [0])

    def answer(
        self, key: bytes, type_and_class: bytes, *, minimal_any: bool = False
    ) -> CompiledAnswer | None:  # hot: dns-missing
        """Return the answer to a question; None if the name is in none of our zones, or if resolvers are to be asked.

        Args:
            key: the name in lower case, ending in its first zero byte.
            type_and_class: the 4 bytes that follow the name in a question.

        Raises: ValueError if `key` is not a valid name.
        """
        rtype = PLAIN.get(type_and_class)
        if rtype is not None:  # fast path: record set exists, name does not but its parent does, or type does not
            denial = None
            node = self.tables.nodes.get(key)
            if node is None:
                length = key[0]
                above = self.tables.nodes.get(key[length + 1 :])
                if above is not None and above.wildcard is None and above.cut is None and length <= MAX_LABEL_BYTES:
                    denial = self._shared.get((above.zone, len(key), rtype))
            elif node.cut is None:
                if rtype in node.sets:
                    return self._make(node, key, type_and_class, rtype, minimal_any)
                if codes.CNAME not in node.sets:
                    denial = self._shared.get((node.zone, len(key), ~rtype))
            if denial is not None:
                return denial
        answer = self._find(key, type_and_class, minimal_any)
        return None if answer is not None and answer.outside is not None and self.is_recursive else answer

    def partial_answer(self, key: bytes, type_and_class: bytes) -> CompiledAnswer | None:
        """Return the answer that ends outside our zones as it is: aliases alone, or a referral. Raises: ValueError."""
        return self._find(key, type_and_class, False)

    def look_up(self, key: bytes, rtype: int) -> Sections | None:
        """Return the sections of an answer; None if the name is in none of our zones. Raises: ValueError."""
        sections = look_up(self.tables, key, rtype)
        return None if sections is None else self._complete(sections)

    def _find(self, key: bytes, type_and_class: bytes, minimal_any: bool) -> CompiledAnswer | None:
        """Return an answer by a full lookup, from the shared ones if the name itself does not exist."""
        status, node = find(self.tables, key)
        rtype, of_class = type_and_class[0] << 8 | type_and_class[1], type_and_class[2] << 8 | type_and_class[3]
        if of_class not in (codes.CLASS_IN, codes.CLASS_ANY):
            return self.refusal(rtype, codes.REFUSED)
        if node is None:
            return None
        if not node.zone.is_served:
            return self.refusal(rtype, codes.SERVFAIL)
        if rtype in (codes.AXFR, codes.IXFR):
            return self.refusal(rtype, codes.REFUSED)
        if status is NameStatus.REDIRECTED:
            return self._redirect(node, key, type_and_class, rtype)
        sets = node.sets
        is_itself = status is NameStatus.EXISTS or node.key == key
        if is_itself and (rtype in sets or codes.CNAME in sets or rtype in _OWN):
            return self._make(node, key, type_and_class, rtype, minimal_any)
        counted = rtype if rtype in codes.TYPE_NAMES else 0
        if of_class == codes.CLASS_ANY:
            counted, kind_and_class = counted | 0x10000, rtype | 0x10000
        else:
            kind_and_class = rtype
        place: tuple[object, ...]
        if status is NameStatus.MISSING:
            place = (node.zone, len(key), counted)
        elif status is NameStatus.DELEGATED:
            place = (node, len(key), counted)
        elif rtype in sets or codes.CNAME in sets or (sets and rtype in _OWN):
            place = (node, len(key), kind_and_class, minimal_any)
        else:
            place = (node.zone, len(key), ~counted)
        place = self._place(place, key, status, node)
        answer = self._shared.get(place)
        if answer is None:
            sections = look_up(self.tables, key, rtype, (status, node), minimal_any=minimal_any) or Sections()
            sections.is_authoritative &= of_class == codes.CLASS_IN
            answer = self._share(place, key, rtype, (status, node), self._complete(sections))
        return answer

    def _place(self, place: tuple[object, ...], key: bytes, status: NameStatus, node: Node) -> tuple[object, ...]:
        """Return the place of an answer among the shared ones."""
        return place

    def _complete(self, sections: Sections) -> Sections:
        """Return all that an answer has beside what a lookup has found."""
        return sections

    def _make(self, node: Node, key: bytes, type_and_class: bytes, rtype: int, minimal_any: bool) -> CompiledAnswer:
        """Return the answer for a name that exists, and cache it by name, type and class."""
        place = key + type_and_class
        if rtype == codes.ANY:  # differs by transport, so processors must not find it by the question alone
            place += b"minimal" if minimal_any else b"full"
        answer = self.answers.get(place) or self._leading_out.get(place)
        if answer is None:
            records = node.sets.get(rtype)
            if (
                records is not None
                and records[1]
                and self._is_single(node, rtype)
                and type_and_class[3] == codes.CLASS_IN
            ):
                answer = compile_single_set(rtype, *records, key, self.tally(rtype, codes.NOERROR))
            else:
                sections = look_up(self.tables, key, rtype, minimal_any=minimal_any) or Sections()
                sections.is_authoritative &= type_and_class[3] == codes.CLASS_IN  # RFC 1034 §4.3.2: never for QCLASS=*
                answer = compile_answer(self._complete(sections), key, len(key), key, self.tally(rtype, sections.rcode))
            answers = self.answers if answer.outside is None or not self.is_recursive else self._leading_out
            if len(answers) >= self.max_answers:
                answers.clear()
            answers[place] = answer
        return answer

    def _redirect(self, node: Node, key: bytes, type_and_class: bytes, rtype: int) -> CompiledAnswer:
        """Return the answer for a name below a DNAME, which is of this name alone; they are counted as one."""
        place = key + type_and_class
        answer = self._redirected.get(place)
        if answer is None:
            sections = look_up(self.tables, key, rtype, (NameStatus.REDIRECTED, node)) or Sections()
            sections.is_authoritative &= type_and_class[3] == codes.CLASS_IN
            tally = self.tally(rtype, sections.rcode)
            answer = compile_answer(self._complete(sections), key, len(key), node.key, tally)
            if len(self._redirected) >= MAX_REDIRECTED:
                self._redirected.clear()
            self._redirected[place] = answer
        return answer

    def _is_single(self, node: Node, rtype: int) -> bool:
        """Whether the answer for a record set of a node is the set alone."""
        return rtype in _WITHOUT_NAMES and node.cut is None

    def _share(
        self, place: tuple[object, ...], key: bytes, rtype: int, found: tuple[NameStatus, Node], sections: Sections
    ) -> CompiledAnswer:
        """Compile an answer that fits all names with the same status and length, and cache it by `place`."""
        status, node = found
        if status is NameStatus.DELEGATED:
            suffix = node.key
        elif status is NameStatus.WILDCARD and sections.answer:
            suffix = parent(node.key)
        else:
            suffix = node.zone.key
        answer = compile_answer(sections, suffix, len(key), suffix, self.tally(rtype, sections.rcode))
        if len(self._shared) >= self.max_answers:
            self._shared.clear()
        self._shared[place] = answer
        return answer
