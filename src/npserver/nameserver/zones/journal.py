"""What the store keeps of the updates of a zone: a journal of changes, and now and then all of them together.

A change is one write, whose size does not depend on the zone. Small ones that follow each other share a value, of at
most `SEGMENT_BYTES`. When the journal has grown larger than what it stands for, the whole overlay is written in parts,
in the background; `head` then names these parts and the first value of the journal after them, and what it does not
name is removed. Each step is one value, so that a process that dies leaves the journal before or after it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from msgspec import MsgspecError, Raw, Struct
from msgspec.msgpack import decode as unpack
from msgspec.msgpack import encode as pack

from npserver.dns.zone.tables import RecordSet
from npserver.errors import StoreError
from npserver.nameserver.zones.overlay import Entry, Overlay

if TYPE_CHECKING:
    from npserver.store.interface import Store

SEGMENT_BYTES = 64 << 10  # of a value of the journal to which changes are still added
PART_BYTES = 512 << 10  # of a part of the whole
MAX_CHANGE_BYTES = 900 << 10  # of one change: a value of a store can hold it
MIN_JOURNAL_BYTES = 256 << 10  # of a journal that is replaced by the whole
_TRIES = 5  # to read it while another process replaces the journal


class Head(Struct, frozen=True, array_like=True):
    """Where the journal begins: the parts of the whole, and the number of the value before the first one after it."""

    number: int = 0  # of the whole
    parts: int = 0
    upto: int = 0
    serial: int = 0
    digest: bytes = b""
    size: int = 0  # of all parts


class Change(Struct, frozen=True, array_like=True):
    """What one write of updates makes: the serial and the digest of the zone after it, and its overlay."""

    serial: int
    digest: bytes
    entries: tuple[Entry, ...]


class Cut(Struct, frozen=True):
    """Where a journal was cut: the whole of `items` replaces its values up to `upto`."""

    upto: int
    written: int
    serial: int
    digest: bytes
    items: list[tuple[tuple[bytes, int], RecordSet | None]]


class Journal:
    """The journal of one zone. Attributes: `last` (serial and digest of the zone after the last change, if any)."""

    # _head     as the store has it
    # _number   of the value to which changes are added
    # _segment  what it has
    # _doubtful whether the store may have a change there that was said not to be kept
    # _written  bytes of the journal after the head
    # _failed   how many there were when it could not be replaced
    # _wholes   number of the last whole that was begun; one that failed is not written to again
    # _fault    why it cannot be read: nothing is written then

    __slots__ = (
        "_doubtful", "_failed", "_fault", "_folder", "_head", "_number", "_segment", "_store", "_wholes",
        "_written", "last",
    )  # fmt: skip

    def __init__(self, store: Store, apex: bytes) -> None:
        self._store = store
        self._folder = f"dns/updated/{sha256(apex).hexdigest()[:32]}"
        self._head = Head()
        self._wholes = 0
        self._number = 1
        self._segment: list[Raw] = []
        self._doubtful = False
        self._written = self._failed = 0
        self._fault = ""
        self.last: tuple[int, bytes] | None = None

    def __repr__(self) -> str:
        return f"<Journal {self._folder} number={self._number} written={self._written}>"

    async def load(self) -> Overlay:
        """Return the overlay that the store has. Raises: StoreError; then nothing can be added."""
        self._fault = ""
        try:
            for _ in range(_TRIES):
                head = await self._store.get(f"{self._folder}/head")
                found = await self._read(Head() if head is None else _decode(head, Head))
                if found is not None and await self._store.get(f"{self._folder}/head") == head:
                    return found
            raise StoreError(f"{self._folder}: a part of the updates is missing (store)")
        except StoreError as error:
            self._fault = str(error)
            raise

    async def add(self, change: Change) -> None:
        """Keep a change. When this returns, it outlives a power failure. Raises: StoreError: it is not kept."""
        if self._fault:
            raise StoreError(f"the updates of the last run cannot be read: {self._fault}")
        packed = pack(change)
        if self._segment and sum(map(len, self._segment)) + len(packed) > SEGMENT_BYTES:
            if self._doubtful:
                await self._store.put(self._key("journal", self._number), pack(self._segment))
            self._number, self._segment = self._number + 1, []
        segment = [*self._segment, Raw(packed)]
        self._doubtful = True
        await self._store.put(self._key("journal", self._number), pack(segment))
        self._doubtful = False
        self._segment = segment
        self._written += len(packed)
        self.last = change.serial, change.digest

    def is_long(self) -> bool:
        """Whether it is larger than what it stands for, and should be replaced."""
        return self._written > max(MIN_JOURNAL_BYTES, self._head.size, 2 * self._failed)

    def cut(self, overlay: Overlay) -> Cut:
        """Begin to replace it, between two changes: what comes is added behind."""
        serial, digest = self.last or (0, b"")
        upto = self._number if self._segment else self._number - 1  # there is no value without changes
        cut = Cut(upto, self._written, serial, digest, list(overlay.sets.items()))
        self._number, self._segment, self._doubtful, self._written = upto + 1, [], False, 0
        return cut

    async def replace(self, cut: Cut) -> None:
        """Write the whole in place of the journal before a cut. Raises: StoreError: the journal stays."""
        self._wholes += 1
        number, written, size = self._wholes, 0, 0
        head = None
        try:
            for part in _parts(cut.items):
                packed = pack(part)
                written, size = written + 1, size + len(packed)
                await self._store.put(self._key(f"whole-{number}", written), packed)
            head = Head(number, written, cut.upto, cut.serial, cut.digest, size)
            await self._store.put(f"{self._folder}/head", pack(head))
        except StoreError:
            self._written += cut.written
            self._failed = self._written
            if head is None:  # else the store may have it
                with contextlib.suppress(StoreError):
                    for part_number in range(1, written + 1):
                        await self._store.delete(self._key(f"whole-{number}", part_number))
            raise
        self._head, self._failed = head, 0
        await self.remove_others()

    async def remove_others(self) -> None:
        """Remove what the head does not name: of former journals, and of a process that died. Raises: StoreError."""
        for key in await self._store.list(f"{self._folder}/"):
            _, _, name = key.rpartition("/")
            kind, _, number = name.rpartition("-")
            is_old = kind == "journal" and int(number) <= self._head.upto
            if is_old or (kind.startswith("whole-") and kind != f"whole-{self._head.number}"):
                await self._store.delete(key)

    def _key(self, kind: str, number: int) -> str:
        return f"{self._folder}/{kind}-{number:09}"

    async def _read(self, head: Head) -> Overlay | None:
        """Return the overlay; None if a value is missing."""
        overlay, written = Overlay(), 0
        last = (head.serial, head.digest) if head.digest else None
        for number in range(1, head.parts + 1):
            part = await self._store.get(self._key(f"whole-{head.number}", number))
            if part is None:
                return None
            overlay.take(_decode(part, list[Entry]))
        numbers = sorted(int(key[-9:]) for key in await self._store.list(f"{self._folder}/") if "/journal-" in key)
        numbers = [number for number in numbers if number > head.upto]
        if numbers != list(range(head.upto + 1, head.upto + 1 + len(numbers))):
            return None
        for number in numbers:
            segment = await self._store.get(self._key("journal", number))
            if segment is None:
                return None
            written += len(segment)
            for change in _decode(segment, list[Change]):
                overlay.take(change.entries)
                last = change.serial, change.digest
        self._head, self.last, self._written = head, last, written
        self._number, self._segment, self._wholes = head.upto + len(numbers) + 1, [], head.number
        return overlay


def _parts(items: Iterable[tuple[tuple[bytes, int], RecordSet | None]]) -> Iterator[list[Entry]]:
    part: list[Entry] = []
    size = 0
    for (name, rtype), records in items:
        one = Entry(name, rtype, True, records)
        if part and size + one.size > PART_BYTES:
            yield part
            part, size = [], 0
        part.append(one)
        size += one.size
    if part:
        yield part


def _decode(data: bytes, kind: Any) -> Any:
    try:
        return unpack(data, type=kind)
    except MsgspecError as error:
        raise StoreError(f"the updates are damaged: {error} (store)") from None
