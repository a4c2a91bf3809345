"""A table of short values in memory that all processes share: what one worker has learned, the others need not ask for.

The master makes the table before it forks; pages never written take no memory. There are no locks: an entry has a
checksum, with a secret of this start, over its key and value, and a reader that finds another one has met a writer, or
another key, and finds nothing. An entry has its place in one of `WAYS` cells; the one whose time passes next makes
room. Nothing is promised: a value may be gone at any time.
"""

from __future__ import annotations

import mmap
from hashlib import blake2b
from struct import Struct
from time import monotonic

CELL_BYTES = 1024
WAYS = 4
_HEAD = Struct("=16s8sdH")  # the key's digest, the checksum, when the value's time passes, its length
MAX_VALUE_BYTES = CELL_BYTES - _HEAD.size
_SUM_BYTES = 8
_TIME = Struct("=d")


class SharedValues:
    """The table. Times are seconds of the monotonic clock, which is the same for all processes."""

    __slots__ = ("_end", "_memory", "_seed", "_sets")

    def __init__(self, values: int, seed: bytes) -> None:
        self._sets = max(1, -(-values // WAYS))
        self._end = self._sets * WAYS * CELL_BYTES
        self._memory = mmap.mmap(-1, self._end + _TIME.size)
        self._seed = seed

    def __repr__(self) -> str:
        return f"<SharedValues {self._sets * WAYS}>"

    @property
    def forgotten_at(self) -> float:
        """When all values were last told to be forgotten: 0 if never. What was learned before is not to be used."""
        at: float = _TIME.unpack_from(self._memory, self._end)[0]
        return at

    def forget(self) -> None:
        """Tell all processes to use nothing any more that was learned before now."""
        _TIME.pack_into(self._memory, self._end, monotonic())

    def get(self, key: bytes, now: float) -> bytes | None:
        """Return the value of a key; None if there is none, or its time has passed."""
        digest, first = self._place(key)
        memory = self._memory
        for cell in range(first, first + WAYS * CELL_BYTES, CELL_BYTES):
            if memory[cell : cell + 16] == digest:
                _, checksum, until, length = _HEAD.unpack_from(memory, cell)
                start = cell + _HEAD.size
                value = memory[start : start + min(length, MAX_VALUE_BYTES)]
                if until > now and checksum == self._checksum(digest, until, value):
                    return value
        return None

    def put(self, key: bytes, value: bytes, until: float) -> bool:
        """Keep a value until a time; a longer one than `MAX_VALUE_BYTES` is not kept. Return whether it is."""
        if len(value) > MAX_VALUE_BYTES:
            return False
        digest, first = self._place(key)
        memory = self._memory
        chosen, earliest = first, float("inf")
        for cell in range(first, first + WAYS * CELL_BYTES, CELL_BYTES):
            found, _, ends_at, _ = _HEAD.unpack_from(memory, cell)
            if found == digest:
                chosen = cell
                break
            if ends_at < earliest:
                chosen, earliest = cell, ends_at
        _HEAD.pack_into(memory, chosen, digest, self._checksum(digest, until, value), until, len(value))
        start = chosen + _HEAD.size
        memory[start : start + len(value)] = value
        return True

    def _place(self, key: bytes) -> tuple[bytes, int]:
        """Return the digest of a key and the first cell of its set."""
        digest = blake2b(key, digest_size=16, key=self._seed).digest()
        return digest, int.from_bytes(digest[:8], "little") % self._sets * WAYS * CELL_BYTES

    def _checksum(self, digest: bytes, until: float, value: bytes) -> bytes:
        return blake2b(b"%b%r%b" % (digest, until, value), digest_size=_SUM_BYTES, key=self._seed).digest()
