"""The titles of processes in ps(1) and top(1): `npserver: master`, `npserver: worker 0`. Linux only.

Written over the memory of the command line, as setproctitle(3) of BSD does, but by way of /proc: that takes no
compiled package. Called before privileges go, as /proc/self is root's from then on.
"""

from __future__ import annotations

import contextlib

_NAME = "npserver"  # of each process by itself, which `top`, `pkill` and "port in use by" show
_ARG_START, _ARG_END = 45, 46  # in /proc/self/stat, after the name in parentheses (proc(5): fields 48 and 49)


def set_title(title: str) -> None:
    """Give this process a title, cut to the length of its command line; where that is impossible it has none."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open("/proc/self/comm", "w", encoding="ascii") as name:
            name.write(_NAME)
        with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        with open("/proc/self/cmdline", "rb") as line:
            arguments = line.read()
        start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            if end - start == len(arguments) and memory.read(end - start) == arguments:
                wire = title.encode(errors="surrogateescape")[: len(arguments) - 1]
                memory.seek(start)
                memory.write(wire.ljust(len(arguments), b"\0"))
