"""Memory shared by all processes: each writes its own row only, readers sum the rows, so there are no locks.

The master makes it before it forks. A row is an array of signed 64-bit slots; a slot's number comes from its name,
given out in order and never taken back, so that every process that compiles the same configs in the same order
agrees on the numbers. The last part of a row holds hashed cells: counts per client address.
"""

from __future__ import annotations

import mmap
from hashlib import blake2b

SLOTS = 16_384  # named slots of a row; untouched pages cost nothing
CELLS = 8_192  # hashed cells of a row, half for each of two hashes
_WIDTH = SLOTS + CELLS


class Directory:
    """Slot numbers by name, append-only."""

    __slots__ = ("names",)

    def __init__(self) -> None:
        self.names: dict[str, int] = {}

    def slot(self, name: str) -> int:
        """Give the slot of `name`, a new one the first time. Raises: OverflowError when all are given out."""
        number = self.names.setdefault(name, len(self.names))
        if number >= SLOTS:
            raise OverflowError(f"scoreboard full at {name!r}")
        return number


class Scoreboard:
    """The whole: `rows` rows. Row 0 is the controller's, row n + 1 that of worker n."""

    __slots__ = ("_memory", "cells_seed", "directory", "rows")

    def __init__(self, workers: int, seed: bytes) -> None:
        self._memory = mmap.mmap(-1, (workers + 1) * _WIDTH * 8)
        view = memoryview(self._memory).cast("q")
        self.rows = [view[start : start + _WIDTH] for start in range(0, (workers + 1) * _WIDTH, _WIDTH)]
        self.directory = Directory()
        self.cells_seed = seed

    def total(self, slot: int) -> int:
        """Sum a slot over all rows."""
        return sum([row[slot] for row in self.rows])

    def row(self, worker: int) -> Row:
        """The row that `worker` writes; -1 is the controller."""
        return Row(self, worker + 1)

    def clear_gauges(self, worker: int, slots: list[int]) -> None:
        """Zero what a dead worker held: its connections are gone, its counters stay."""
        row = self.rows[worker + 1]
        for slot in slots:
            row[slot] = 0
        for cell in range(SLOTS, _WIDTH):
            row[cell] = 0


class Row:
    """One process's row: `row.slots[n] += 1` is the way to count what others must know at once, `row.tallies[n] += 1`
    what they may learn at the next sweep, which costs half as much. Watched by the sweeper."""

    __slots__ = ("_tally_slots", "_totals", "board", "deadline", "number", "slots", "tallies")

    def __init__(self, board: Scoreboard, number: int) -> None:
        self.board = board
        self.number = number
        self.slots = board.rows[number]
        self.tallies: list[int] = []  # counted since the last sweep
        self._tally_slots: dict[int, int] = {}
        self._totals: dict[int, int] = {}  # by slot: a second slot that gets the same counts
        self.deadline = 0.0  # each sweep

    def slot(self, name: str) -> int:
        """The slot of a counter such as `http.requests`; names that start with `gauge.` fall to 0 with their worker."""
        return self.board.directory.slot(name)

    def tally(self, name: str, total: str = "") -> int:
        """Return the number in `tallies` of a counter. What is counted there is published to its slot, and to the slot
        of `total` if that is given: the sum of several counters."""
        slot = self.slot(name)
        if total:
            self._totals[slot] = self.slot(total)
        number = self._tally_slots.get(slot)
        if number is None:
            number = self._tally_slots[slot] = len(self.tallies)
            self.tallies.append(0)
        return number

    def publish(self) -> None:
        """Bring what was counted to the scoreboard."""
        tallies, slots = self.tallies, self.slots
        for slot, number in self._tally_slots.items():
            if tallies[number]:
                slots[slot] += tallies[number]
                if slot in self._totals:
                    slots[self._totals[slot]] += tallies[number]
                tallies[number] = 0

    def expire(self, now: float) -> None:
        """A sweep: publish."""
        self.publish()

    def cells(self, key: bytes) -> tuple[int, int]:
        """The two cells that count for `key`; the smaller sum is the count."""
        digest = blake2b(key, digest_size=8, key=self.board.cells_seed).digest()
        half = CELLS // 2
        first = int.from_bytes(digest[:4], "little") % half
        second = int.from_bytes(digest[4:], "little") % half
        return SLOTS + first, SLOTS + half + second

    def cell_total(self, cells: tuple[int, int]) -> int:
        """How often `key` (whose cells these are) is counted, over all processes."""
        board = self.board
        return min(board.total(cells[0]), board.total(cells[1]))
