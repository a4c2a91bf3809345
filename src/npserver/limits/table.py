"""The table of rate limits, in memory that all processes share: one cell for each limit and key that is in use.

The master makes the table before it forks, so all workers of all configs use the same one, and a limit means the same
whichever worker a request reaches. A cell holds a 64-bit tag (of limit and key, hashed with a secret of this start) and
a time: when the key will have its whole burst again. A cell whose time has passed says nothing, and is free.

A key has its place in one of many sets of `WAYS` cells. If all of them are in use, the one whose time is next to pass
makes room: of all keys in the set, that one has used up the least. So a flood of keys that come once drives out each
other, not a key that is at its limit; nobody is refused for want of room; and the table never grows.

A POSIX semaphore, about 80 ns, makes looking and counting one step over all processes. A process that is killed in
between leaves it taken: `recover` frees it, and the others wait for `LOCK_S` at most and go on without it meanwhile.
"""

from __future__ import annotations

import _thread
import mmap
import os
from hashlib import blake2b
from time import monotonic_ns
from typing import Any

WAYS = 8
DEFAULT_KEYS = 1 << 20  # 16 MiB, if all are in use; pages never written take no memory
LOCK_S = 0.05  # it is held for less than a microsecond, or for as long as a busy machine lets its holder wait
STUCK_S = 0.05
_SET = 2 * WAYS  # numbers of a set: the tags, then the times


class RateTable:
    """The cells of all limits, for `limits.limiter`: `cells[i]` is a tag, `cells[i + WAYS]` its time.

    Times are nanoseconds of the monotonic clock, which is the same for all processes.
    """

    __slots__ = ("_memory", "_seed", "_sets", "acquire", "cells", "is_shared", "release")

    def __init__(self, keys: int, seed: bytes, *, is_shared: bool) -> None:
        self._sets = 1 << max(-(-keys // WAYS) - 1, 0).bit_length()
        self._memory = mmap.mmap(-1, self._sets * _SET * 8)
        self.cells = memoryview(self._memory).cast("q")
        self._seed = seed
        lock: Any = _shared_lock() if is_shared else None
        self.is_shared = lock is not None
        lock = lock or _thread.allocate_lock()
        self.acquire = lock.acquire  # called with (True, LOCK_S)
        self.release = lock.release

    def __repr__(self) -> str:
        return f"<RateTable {self._sets * WAYS} keys>"

    def address(self, key: bytes) -> tuple[int, int]:
        """Return the tag of `key`, never 0, and the index of the first cell of its set."""
        digest = blake2b(key, digest_size=16, key=self._seed).digest()
        tag = int.from_bytes(digest[:8], "little", signed=True) or 1
        return tag, int.from_bytes(digest[8:], "little") % self._sets * _SET

    def find(self, tag: int, index: int, now: int) -> tuple[int, bool]:
        """Return the index of the tag's cell in the set that `index` is in, and whether another key lost it.

        A tag that has no cell gets one, with a time that has passed. Called with the lock.
        """
        cells = self.cells
        first = index - index % _SET
        tags = cells[first : first + WAYS].tolist()
        if tag in tags:
            return first + tags.index(tag), False
        times = cells[first + WAYS : first + _SET].tolist()
        earliest = min(times)
        found = first + times.index(earliest)
        cells[found + WAYS] = 0
        cells[found] = tag
        return found, earliest > now

    def advance(self, key: bytes, by_ns: int, most_ns: int | None = None) -> int:
        """Move the time of a key on. Return how far it is in the future now, in nanoseconds.

        `most_ns`: a time further in the future than that is returned, and set back: it has passed then.
        """
        cells = self.cells
        tag, first = self.address(key)
        now = monotonic_ns()
        has_lock = self.acquire(True, LOCK_S)
        try:
            index, _ = self.find(tag, first, now)
            time = max(cells[index + WAYS], now) + by_ns
            ahead = time - now
            cells[index + WAYS] = time if most_ns is None or ahead <= most_ns else 0
        finally:
            if has_lock:
                self.release()
        return ahead

    def clear(self) -> None:
        """Forget all keys; called where nobody else uses the table."""
        for place in range(len(self.cells)):
            self.cells[place] = 0

    def recover(self) -> None:
        """Free the lock if a process that has ended holds it. Called by the master, which never holds it otherwise."""
        if self.is_shared:
            self.acquire(True, STUCK_S)  # got or not: it is free afterwards
            self.release()


def _shared_lock() -> Any:
    """Return a lock that all processes forked later share; None where the system has no semaphores.

    Without it two workers may, once in a great while, count two requests of a key as one.
    """
    try:
        from _multiprocessing import SemLock  # type: ignore[import-not-found]

        semaphore = 1  # the kind that knows no owner
        return SemLock(semaphore, 1, 1, f"/npserver-{os.getpid()}-{os.urandom(8).hex()}", True)
    except (ImportError, OSError):
        return None
