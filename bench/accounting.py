"""CPU time and memory of all processes of a server, as the kernel accounts for them."""

from __future__ import annotations

import os
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """Return the process ids of `root` and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat(int(entry))):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found, unseen = [], [root]
    while unseen:
        pid = unseen.pop()
        found.append(pid)
        unseen += children.get(pid, [])
    return found


def cpu_s(root: int) -> float:
    """Return user and system time of `root` and its descendants, with those that have ended and were waited for.

    The scheduler's nanoseconds (`schedstat`) where the kernel keeps them, else ticks of `stat`.
    """
    return sum(map(_process_cpu_s, tree(root)))


def memory_bytes(root: int) -> int:
    """Return the proportional set size of `root` and its descendants: shared pages count once."""
    total = 0
    for pid in tree(root):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) << 10 for line in rollup.splitlines() if line.startswith("Pss:"))
    return total


def _process_cpu_s(pid: int) -> float:
    fields = _stat(pid)
    if not fields:
        return 0.0
    ended = (int(fields[13]) + int(fields[14])) * _TICK_S
    try:
        threads = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    except OSError:
        threads = []
    if threads and all(threads):
        return ended + sum(int(thread[0]) for thread in threads) / 1e9
    return ended + (int(fields[11]) + int(fields[12])) * _TICK_S


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat behind the name (state, ppid, ...; utime is number 11), or none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
