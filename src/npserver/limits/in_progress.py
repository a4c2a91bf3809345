"""Counts of what is in progress for each client, over all processes, in shared memory.

Each process has a row of its own, in which it alone writes; a count is the sum over all rows. So the master gives back
what a process held that was killed, by clearing its row. A row is a table like that of `limits.table`: the key's hash
says in which set of cells it is, and the set is the same in all rows. A cell is a tag and a count; with a count of 0 it
is free. A key for which a set has no cell left is not counted.
"""

from __future__ import annotations

import mmap

from npserver.limits.table import WAYS

SETS = 8192  # of a row: 1 MiB, if all are in use
_SET = 2 * WAYS  # numbers of a set: the tags, then the counts
_ROW = SETS * _SET


class InProgress:
    """The counts of all processes. All but `leave` is called with the lock of `RateTable`."""

    __slots__ = ("_memory", "_rows", "cells")

    def __init__(self, rows: int) -> None:
        self._rows = range(0, rows * _ROW, _ROW)
        self._memory = mmap.mmap(-1, rows * _ROW * 8)
        self.cells = memoryview(self._memory).cast("q")

    def total(self, tag: int, first: int) -> int:
        """Return the count of a key over all rows. `first`: the index of its set within a row."""
        cells, found = self.cells, 0
        for row in self._rows:
            start = row + first
            tags = cells[start : start + WAYS].tolist()
            if tag in tags:
                found += cells[start + tags.index(tag) + WAYS]
        return found

    def enter(self, row: int, tag: int, first: int) -> int:
        """Count one in a row. Return the cell, for `leave`; -1 if there is none left."""
        cells = self.cells
        start = self._rows[row] + first
        tags = cells[start : start + WAYS].tolist()
        if tag in tags:
            cell = start + tags.index(tag)
        else:
            counts = cells[start + WAYS : start + _SET].tolist()
            if 0 not in counts:
                return -1
            cell = start + counts.index(0)
            cells[cell] = tag
        cells[cell + WAYS] += 1
        return cell

    def leave(self, cell: int) -> None:
        """Take back what `enter` has counted in this cell."""
        self.cells[cell + WAYS] -= 1

    def clear(self, row: int) -> None:
        """Forget what a process counted that has ended."""
        start = self._rows[row]
        self.cells[start : start + _ROW] = memoryview(bytes(_ROW * 8)).cast("q")
