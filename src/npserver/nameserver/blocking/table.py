"""The names of a list as a table of hashes in shared memory: built by the controller, mapped by all processes.

A part for each kind of entry: an index of 32-bit numbers, then the hashes, sorted, 8 bytes each. The index has the
first place of each bucket, which is told by the highest bits of a hash; a bucket has 8 hashes on average.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from npserver.dns.message.name import labels
from npserver.nameserver.blocking.list_format import Action, Extent, Kind, name_hash
from npserver.runtime.shared_file import Region, SharedFile

BUCKET = 8  # hashes, on average
SORTED_AT_ONCE = 1 << 17  # hashes: other threads wait meanwhile
_ALIGNED = 8


class Part(Struct, frozen=True):
    """Where the entries of one kind are. `offset` is in bytes; the index has 2 ** `bits` + 1 numbers."""

    action: int
    extent: int
    offset: int
    count: int
    bits: int

    @property
    def hashes_at(self) -> int:
        """The offset of the hashes."""
        return self.offset + _aligned(4 * ((1 << self.bits) + 1))


class Layout(Struct, frozen=True):
    """Where a table is, and its parts."""

    region: Region
    parts: tuple[Part, ...]

    @property
    def count(self) -> int:
        """The number of entries."""
        return sum([part.count for part in self.parts])


class BuiltTable:
    """A table that was built. Its memory is freed with it, unless it has been put in use (`keep`)."""

    __slots__ = ("_file", "layout")

    def __init__(self, file: SharedFile, layout: Layout) -> None:
        self._file: SharedFile | None = file
        self.layout = layout

    def __del__(self) -> None:
        if self._file is not None:
            self._file.free(self.layout.region)

    def keep(self) -> Layout:
        """Return the layout; the memory is the caller's from now on."""
        self._file = None
        return self.layout


def build_table(
    file: SharedFile, hashes: Mapping[Kind, array[int]], is_over: Callable[[], bool] = lambda: False
) -> BuiltTable:
    """Build a table; it takes a second for a million entries, in pieces.

    `is_over` says that nobody waits for it any more. Raises: InterruptedError then; OSError, without memory.
    """
    parts, offset = [], 0
    for (action, extent), found in sorted(hashes.items()):
        part = Part(action, extent, offset, len(found), max(1, (len(found) // BUCKET).bit_length()))
        parts.append(part)
        offset = part.hashes_at + 8 * part.count
    region = file.allocate(offset)
    built = BuiltTable(file, Layout(region, ()))
    final = []
    for part, (_, found) in zip(parts, sorted(hashes.items()), strict=True):
        count = _write_sorted(file, region, part, found, is_over)
        final.append(Part(part.action, part.extent, part.offset, count, part.bits))
        _write_index(file, region, final[-1])
    built.layout = Layout(region, tuple(final))
    return built


def _write_sorted(file: SharedFile, region: Region, part: Part, found: array[int], is_over: Callable[[], bool]) -> int:
    """Write the hashes of a part, each once, range by range. Return how many there are."""
    bits = max(0, (len(found) // SORTED_AT_ONCE).bit_length())
    shift, count = 64 - bits, 0
    for number in range(-(1 << bits >> 1), (1 << bits) - (1 << bits >> 1)):
        if is_over():
            raise InterruptedError
        piece = sorted({one for one in found if one >> shift == number}) if bits else sorted(set(found))
        file.write(region, part.hashes_at + 8 * count, memoryview(array("q", piece)))
        count += len(piece)
    return count


def _write_index(file: SharedFile, region: Region, part: Part) -> None:
    hashes = _hashes(file.map(region), part)
    shift, buckets = 64 - part.bits, 1 << part.bits
    places, place = array("I"), 0
    for number in range(-buckets // 2, buckets // 2):
        place = bisect_left(hashes, number << shift, place)
        places.append(place)
    places.append(part.count)
    file.write(region, part.offset, memoryview(places))


class Table:
    """A table in use."""

    __slots__ = ("_parts", "layout")

    def __init__(self, file: SharedFile, layout: Layout) -> None:
        """Map a table. Raises: OSError."""
        view = file.map(layout.region)
        self.layout = layout
        #: Exceptions first. Of each part: action, extent, index, hashes, shift, half the number of buckets.
        self._parts = [
            (
                Action(part.action),
                Extent(part.extent),
                view[part.offset : part.offset + 4 * ((1 << part.bits) + 1)].cast("I"),
                _hashes(view, part),
                64 - part.bits,
                1 << part.bits - 1,
            )
            for part in sorted(layout.parts, key=lambda part: -part.action)
            if part.count
        ]

    def __repr__(self) -> str:
        return f"<Table {self.layout.count} entries>"

    def find(self, hashes: Sequence[int]) -> tuple[Action, int] | None:  # hot: dns-block
        """Return what the list says of a name, and how many of its labels are left out in the entry that does.

        `hashes`: those of the name, and of the names above it (`hashes_of`). An exception for any of them wins; of
        other entries the one with the most labels.
        """
        best: tuple[Action, int] | None = None
        for action, extent, index, values, shift, half in self._parts:
            depth = 1 if extent is Extent.BELOW else 0
            for one in hashes[depth:1] if extent is Extent.SELF else hashes[depth:]:
                bucket = (one >> shift) + half
                last = index[bucket + 1]
                place = bisect_left(values, one, index[bucket], last)
                if place < last and values[place] == one:
                    if action is Action.EXCEPT:
                        return action, depth
                    if best is None or depth < best[1]:
                        best = action, depth
                    break
                depth += 1
        return best


def hashes_of(key: bytes) -> list[int]:  # hot: dns-block
    """Return the hashes of a name, in wire form and lower case, and of the names above it without the last label."""
    parts = labels(key)
    if not parts:
        return []
    if b"." in key:  # within a label: it is none between two, and no list has a zero byte
        parts = [label.replace(b".", b"\0") for label in parts]
    text = parts.pop()
    found = [] if parts else [name_hash(text)]
    for label in reversed(parts):
        text = label + b"." + text
        found.append(name_hash(text))
    found.reverse()
    return found


def _hashes(view: memoryview, part: Part) -> memoryview:
    return view[part.hashes_at : part.hashes_at + 8 * part.count].cast("q")


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED
