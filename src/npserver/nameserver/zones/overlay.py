"""What updates have made of a zone: the record sets that they have set or removed, beside those of its file or config.

A set that is again as the file or the config has it is not in it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from npserver.dns.message import codes
from npserver.dns.zone.content import Content, SetChange, are_equal, set_size
from npserver.dns.zone.tables import RecordSet, ancestors, with_soa_serial

_ENTRY_BYTES = 16  # of an entry besides its name and its records, about
#: Each name between a name and its zone takes memory, too. Those of IPv6 addresses have 34 labels, others few.
_FREE_LABELS, _LABEL_BYTES = 24, 64


class Entry(Struct, frozen=True, array_like=True):
    """What becomes of one entry: it is set to records, or to None for sets that are removed; or it goes."""

    name: bytes
    rtype: int
    stays: bool
    records: RecordSet | None

    @property
    def size(self) -> int:
        """About how many bytes it takes in the store, and more for names of very many labels."""
        size = len(self.name) + _ENTRY_BYTES + set_size(self.records)
        if len(self.name) > 2 * _FREE_LABELS:
            size += _LABEL_BYTES * max(0, sum(1 for _ in ancestors(self.name)) - _FREE_LABELS)
        return size


class Overlay:
    """The overlay of one zone. Attribute: `size`, about how many bytes its entries take."""

    __slots__ = ("sets", "size")

    def __init__(self) -> None:
        self.sets: dict[tuple[bytes, int], RecordSet | None] = {}
        self.size = 0

    def __repr__(self) -> str:
        return f"<Overlay of {len(self.sets)} record sets, {self.size} bytes>"

    def take(self, entries: Iterable[Entry]) -> None:
        """Make changes."""
        for one in entries:
            place = one.name, one.rtype
            if place in self.sets:
                self.size -= Entry(*place, True, self.sets.pop(place)).size
            if one.stays:
                self.sets[place] = one.records
                self.size += one.size

    def growth(self, entries: Iterable[Entry]) -> int:
        """Return by how many bytes changes would make it larger."""
        grown = 0
        for one in entries:
            place = one.name, one.rtype
            grown -= Entry(*place, True, self.sets[place]).size if place in self.sets else 0
            grown += one.size if one.stays else 0
        return grown

    def changes(self) -> list[SetChange]:
        """Return what it makes of the records of the file or the config."""
        return [SetChange(name, rtype, None, records) for (name, rtype), records in self.sets.items()]


def entries_of(base: Content, apex: bytes, changes: Iterable[SetChange]) -> list[Entry]:
    """Return what becomes of an overlay by changes. `base`: the records of the file or the config.

    An SOA is in it if more than the serial differs, which the store keeps elsewhere.
    """
    found = []
    for one in changes:
        records = base.get(one.name, {}).get(one.rtype)
        if one.rtype == codes.SOA and one.name == apex:
            same = _without_serial(records) == _without_serial(one.after)
        else:
            same = are_equal(records, one.after)
        found.append(Entry(one.name, one.rtype, not same, None if same else one.after))
    return found


def changed_sets(
    content: Mapping[bytes, Mapping[int, RecordSet]], names: Mapping[bytes, Mapping[int, RecordSet]]
) -> tuple[SetChange, ...]:
    """Return what changes if these names get these record sets; none for names that are removed."""
    found = []
    for name, sets in names.items():
        old = content.get(name, {})
        for rtype in old.keys() | sets.keys():
            before, after = old.get(rtype), sets.get(rtype)
            if not are_equal(before, after):
                found.append(SetChange(name, rtype, before, after))
    return tuple(found)


def _without_serial(soa: RecordSet | None) -> tuple[int, bytes] | None:
    return None if soa is None else (soa[0], with_soa_serial(soa[1][0], 0))
