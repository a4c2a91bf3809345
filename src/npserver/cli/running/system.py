"""What the kernel says of a running server: CPU time and memory of its processes, connections of its listeners.

Read from /proc by `npserver status`, so that the server itself has no work with it. Elsewhere than on Linux, and for
processes of other users where the kernel hides them, the values are missing.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from typing import Any

_ESTABLISHED = "01"


def add_system(state: dict[str, Any], proc: str = "/proc") -> None:
    """Add `cpu_seconds` and `memory_bytes` to the processes, and `connections` to the listeners of TCP ports."""
    for process in state["processes"]:
        if process["pid"]:
            with contextlib.suppress(OSError, ValueError, IndexError):
                process["cpu_seconds"], process["memory_bytes"] = usage(f"{proc}/{process['pid']}")
    with contextlib.suppress(OSError, ValueError, IndexError):
        ports = connections(f"{proc}/{state['pid']}/net")
        for listener in state["listeners"]:
            if listener["port"] and listener["is_stream"]:
                span = range(listener["port"], listener["port"] + listener.get("ports", 1))
                listener["connections"] = sum(ports[port] for port in span)


def usage(directory: str) -> tuple[float, int]:
    """Return the CPU time in seconds and the resident memory in bytes, of which a part may be shared.

    `directory`: of the process in /proc. Raises: OSError, ValueError, IndexError.
    """
    with open(f"{directory}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()  # from the third: a name may have spaces
    with open(f"{directory}/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE")


def connections(directory: str) -> Counter[int]:
    """Return the number of established TCP connections by local port. Raises: OSError, ValueError, IndexError."""
    found: Counter[int] = Counter()
    for version in ("", "6"):
        with contextlib.suppress(FileNotFoundError), open(f"{directory}/tcp{version}", encoding="ascii") as file:
            next(file, "")
            for line in file:
                fields = line.split(maxsplit=4)
                if fields[3] == _ESTABLISHED:
                    found[int(fields[1].rpartition(":")[2], 16)] += 1
    return found
