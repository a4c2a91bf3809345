"""What each process uses: CPU time, memory, and the log lines that it could not write, for the metrics.

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

_CPU, _MEMORY, _DROPPED = "process.cpu_microseconds", "gauge.process.resident_bytes", "log.dropped_lines"
_CPU_FAMILY = Family("npserver_process_cpu_seconds_total", "counter", "CPU time of a process, in the kernel too.")
_MEMORY_FAMILY = Family(
    "npserver_process_resident_memory_bytes", "gauge", "Memory of a process, with what it shares with others."
)
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Usage:
    """Watched by the deadline sweeper."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._cpu_us = self._dropped = 0  # what is in the slots
        self.deadline = 0.0
        self.expire(context.loop.time())
        context.sweeper.watched.add(self)

    def expire(self, now: float) -> None:
        """Called by the deadline sweeper: write what the process uses."""
        self.deadline = now + PERIOD_S
        row, log = self._context.row, self._context.access_log
        slots = row.slots
        cpu_us, dropped = time.process_time_ns() // 1000, log.lost
        slots[row.slot(_CPU)] += cpu_us - self._cpu_us
        slots[row.slot(_DROPPED)] += max(dropped - self._dropped, 0)  # a reload may have ended a log
        slots[row.slot(_MEMORY)] = _resident_bytes()
        self._cpu_us, self._dropped = cpu_us, dropped


#: What measures the usage of a process; made once a `status` rule is in use.
USAGE = PerProcess(Usage)


def name_usage(row: Row) -> None:
    """Give the numbers their slots, the same ones in each process."""
    for name in (_CPU, _MEMORY, _DROPPED):
        row.slot(name)


def usage_samples(board: Scoreboard) -> list[Sample]:
    """Return CPU time and memory of each process that has written them."""
    names = board.directory.names
    if _CPU not in names:
        return []
    cpu, memory = names[_CPU], names[_MEMORY]
    shown = [(_label(number), row[cpu], row[memory]) for number, row in enumerate(board.rows) if row[cpu]]
    return [
        *(Sample(_CPU_FAMILY, label, used / 1e6) for label, used, _ in shown),
        *(Sample(_MEMORY_FAMILY, label, resident) for label, _, resident in shown),
    ]


def _label(number: int) -> tuple[tuple[str, str], ...]:
    return (("process", f"worker {number - 1}" if number else "controller"),)


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except OSError:  # not on Linux
        return 0
