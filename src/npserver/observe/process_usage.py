"""What each process uses: CPU time and memory; since when it runs.

A process with a `status` rule writes them to its row every few seconds (`USAGE`); `usage_samples` reads the rows of
all.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from npserver.observe.metrics import Family, Sample
from npserver.runtime.context import PerProcess

if TYPE_CHECKING:
    from npserver.runtime.context import Context
    from npserver.runtime.scoreboard import Row, Scoreboard

PERIOD_S = 2.0

_CPU, _MEMORY = "process.cpu_microseconds", "gauge.process.resident_bytes"
_STARTED = "gauge.process.started"
_CPU_FAMILY = Family("npserver_process_cpu_seconds_total", "counter", "CPU time of a process, in the kernel too.")
_MEMORY_FAMILY = Family(
    "npserver_process_resident_memory_bytes", "gauge", "Memory of a process, with what it shares with others."
)
_STARTED_FAMILY = Family("npserver_process_start_time_seconds", "gauge", "When a process began, since 1970.")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Usage:
    """Watched by the deadline sweeper."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._started = _start_time()
        self._cpu_us = 0  # what is in the slot
        self.deadline = 0.0
        self.expire(context.loop.time())
        context.sweeper.watched.add(self)

    def expire(self, now: float) -> None:
        """Called by the deadline sweeper: write what the process uses."""
        self.deadline = now + PERIOD_S
        row = self._context.row
        slots = row.slots
        cpu_us = time.process_time_ns() // 1000
        slots[row.slot(_CPU)] += cpu_us - self._cpu_us
        slots[row.slot(_MEMORY)] = _resident_bytes()
        slots[row.slot(_STARTED)] = self._started
        self._cpu_us = cpu_us


#: What measures the usage of a process; made once a `status` rule is in use.
USAGE = PerProcess(Usage)


def name_usage(row: Row) -> None:
    """Give the numbers their slots, the same ones in each process."""
    for name in (_CPU, _MEMORY, _STARTED):
        row.slot(name)


def usage_samples(board: Scoreboard) -> list[Sample]:
    """Return CPU time, memory and start of each process that has written them."""
    names = board.directory.names
    if _STARTED not in names:
        return []
    shown = [(_label(number), row) for number, row in enumerate(board.rows) if row[names[_STARTED]]]
    return [
        *(Sample(_CPU_FAMILY, label, row[names[_CPU]] / 1e6) for label, row in shown),
        *(Sample(_MEMORY_FAMILY, label, row[names[_MEMORY]]) for label, row in shown),
        *(Sample(_STARTED_FAMILY, label, row[names[_STARTED]]) for label, row in shown),
    ]


def _label(number: int) -> tuple[tuple[str, str], ...]:
    return (("process", f"worker {number - 1}" if number else "controller"),)


def _start_time() -> int:
    """Return when this process began: a `status` rule may come later, by a reload."""
    now = time.time()
    try:
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])  # since the machine's start
        return int(now - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError):  # not on Linux
        return int(now)


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except OSError:  # not on Linux
        return 0
