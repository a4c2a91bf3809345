"""`npserver upgrade` of a running program, and the end of the one that has taken over."""

from __future__ import annotations

import os
import re
import select
import signal
from pathlib import Path

from tests.stage.program import Program


def upgrade(one: Program, *arguments: str, fails: bool = False) -> tuple[int, str]:
    """Run the command. Return the process id of the new program, 0 if it fails as it should, and what it printed."""
    status, printed = one.command("upgrade", *arguments)
    assert status == (1 if fails else 0), f"{printed}\n{one.errors}"
    found = re.search(r"upgraded: process (\d+) serves", printed)
    return int(found[1]) if found else 0, printed


def wait_gone(pid: int, deadline_s: float = 30.0) -> None:
    """Wait for the end of a process that is no child of this one."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], deadline_s)[0], f"process {pid} is still running"
    finally:
        os.close(descriptor)


def stop_successor(pid: int) -> None:
    """End the program that has taken over, in an orderly way."""
    os.kill(pid, signal.SIGTERM)
    wait_gone(pid)


def tree(pid: int) -> list[int]:
    """Return the process ids of a master and its children."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def descriptors(pid: int) -> list[list[str]]:
    """Return what the descriptors of a master and of each child are, without their numbers."""
    found = []
    for one in tree(pid):
        kinds = [
            re.sub(r"\d+", "", os.readlink(entry)) for entry in Path(f"/proc/{one}/fd").iterdir() if entry.is_symlink()
        ]
        found.append(sorted(kinds))
    return found
