"""Counters and gauges in memory shared by all processes, without locks: each process writes only its own row.

The master creates the memory before it forks. A row is an array of signed 64-bit slots; a reader sums a slot over all
rows. Slots are numbered in the order in which their names are first used, and never reused: processes that compile the
same configs in the same order agree on the numbers. The end of a row holds hashed cells: counts per client address.
"""

from __future__ import annotations

import mmap
from hashlib import blake2b
from typing import Protocol

from npserver.errors import ConfigError, Problem, clip
from npserver.limits.in_progress import InProgress
from npserver.limits.table import DEFAULT_KEYS, RateTable
from npserver.observe.last_errors import LastErrors
from npserver.runtime.connection_ids import ConnectionIds
from npserver.runtime.shared_file import SharedFile
from npserver.runtime.shared_values import SharedValues

SLOTS = 32_768  # named slots of a row; pages never written take no memory
CELLS = 8_192  # hashed cells of a row, half of them for each of two hashes
ANSWERS = 16_384  # of resolvers, 1 KiB each
_WIDTH = SLOTS + CELLS
_FULL = (
    "more than {} counters of rules, limits and upstreams, the next one is {}: let rules share limits by "
    "'rate_limits', or restart npserver, as the counters of former configs stay"
)


class Directory:
    """Slot numbers by name, append-only."""

    __slots__ = ("names",)

    def __init__(self) -> None:
        self.names: dict[str, int] = {}

    def slot(self, name: str) -> int:
        """Return the slot of `name`, a new one on first use. Raises: ConfigError if none is left."""
        number = self.names.get(name)
        if number is None:
            number = len(self.names)
            if number >= SLOTS:
                raise ConfigError([Problem(_FULL.format(SLOTS, clip(name)))])
            self.names[name] = number
        return number


class Scoreboard:
    """The shared memory. Row 0 belongs to the controller, row n + 1 to worker n.

    `rates`: the table of rate limits; `datagram_rates`: of those of datagrams, whose senders may be forged: a flood of
    them fills a table of its own; `in_progress`: requests in progress by client; `connection_ids`: of QUIC;
    `shared_file`: memory that the controller fills; `answers`: of resolvers, by question; `last_errors`: of the log,
    with a row of the master's after those of the others.
    """

    __slots__ = (
        "_memory", "answers", "cells_seed", "connection_ids", "datagram_rates", "directory", "in_progress",
        "last_errors", "rates", "rows", "shared_file",
    )  # fmt: skip

    def __init__(self, workers: int, seed: bytes, *, rate_limit_keys: int = DEFAULT_KEYS) -> None:
        self._memory = mmap.mmap(-1, (workers + 1) * _WIDTH * 8)
        view = memoryview(self._memory).cast("q")
        self.rows = [view[start : start + _WIDTH] for start in range(0, (workers + 1) * _WIDTH, _WIDTH)]
        self.directory = Directory()
        self.answers = SharedValues(ANSWERS, seed)
        self.cells_seed = seed
        self.datagram_rates = RateTable(rate_limit_keys, seed, is_shared=workers > 1)
        self.in_progress = InProgress(workers + 1)
        self.last_errors = LastErrors(workers + 2)
        self.rates = RateTable(rate_limit_keys, seed, is_shared=workers > 1)
        self.connection_ids = ConnectionIds(workers)
        self.shared_file = SharedFile()

    def total(self, slot: int) -> int:
        """Return the sum of a slot over all rows."""
        return sum([row[slot] for row in self.rows])

    def row(self, worker: int) -> Row:
        """Return the row of a worker; -1 is the controller."""
        return Row(self, worker + 1)

    def clear_gauges(self, worker: int, slots: list[int]) -> None:
        """Reset the gauges and hashed cells of a worker that has ended; its counters stay."""
        self.rates.recover()
        self.datagram_rates.recover()
        self.in_progress.clear(worker + 1)
        if worker >= 0:
            self.connection_ids.clear(worker)
        row = self.rows[worker + 1]
        for slot in slots:
            row[slot] = 0
        for cell in range(SLOTS, _WIDTH):
            row[cell] = 0


class Publishing(Protocol):
    """Counts of its own that are added to slots, such as a histogram."""

    def publish(self) -> None:
        """Add the counts to the slots, and reset them."""


class Row:
    """The row of one process.

    `row.slots[n] += 1` is visible to other processes at once. `row.tallies[n] += 1` costs half as much, and is added
    to the slots at the next sweep of the deadline sweeper.
    """

    __slots__ = ("_tally_slots", "_totals", "board", "deadline", "number", "pending", "slots", "tallies")

    def __init__(self, board: Scoreboard, number: int) -> None:
        self.board = board
        self.number = number
        self.slots = board.rows[number]
        self.tallies: list[int] = []  # counts since the last sweep
        self.pending: list[Publishing] = []  # have counted something since then
        self._tally_slots: dict[int, int] = {}
        self._totals: dict[int, int] = {}  # by slot: a second slot to which the same counts are added
        self.deadline = 0.0  # always passed: `expire` is called at each sweep

    def slot(self, name: str) -> int:
        """Return the slot of a counter such as `http.requests`; names of gauges begin with `gauge.`."""
        return self.board.directory.slot(name)

    def tally(self, name: str, total: str = "") -> int:
        """Return the index in `tallies` of a counter. `total` names a second counter, to which all counts are added."""
        slot = self.slot(name)
        if total:
            self._totals[slot] = self.slot(total)
        number = self._tally_slots.get(slot)
        if number is None:
            number = self._tally_slots[slot] = len(self.tallies)
            self.tallies.append(0)
        return number

    def publish(self) -> None:
        """Add the tallies to the slots, and reset them."""
        tallies, slots = self.tallies, self.slots
        for slot, number in self._tally_slots.items():
            if tallies[number]:
                slots[slot] += tallies[number]
                if slot in self._totals:
                    slots[self._totals[slot]] += tallies[number]
                tallies[number] = 0
        if self.pending:
            pending, self.pending = self.pending, []
            for one in pending:
                one.publish()

    def expire(self, now: float) -> None:
        """Called by the deadline sweeper: publish."""
        self.publish()

    def cells(self, key: bytes) -> tuple[int, int]:
        """Return the two cells of `key`. Both are counted; the smaller is read, as other keys may share one of them."""
        digest = blake2b(key, digest_size=8, key=self.board.cells_seed).digest()
        half = CELLS // 2
        first = int.from_bytes(digest[:4], "little") % half
        second = int.from_bytes(digest[4:], "little") % half
        return SLOTS + first, SLOTS + half + second

    def cell_total(self, cells: tuple[int, int]) -> int:
        """Return the count of a key over all processes, by its `cells`."""
        board = self.board
        return min(board.total(cells[0]), board.total(cells[1]))
