"""`npserver stop`: shut a running server down, and wait for its end."""

from __future__ import annotations

import os
import sys
import time

from npserver.cli.running.answered import answered
from npserver.cli.words import Words, run_command

HELP = """\
usage: npserver stop [-config FILE]

Shut the running server down: it takes no new connections, and active requests may take up to timeouts.shutdown. The
command waits for its end.

  -config FILE    the server that runs with this config file (default: config.json)
"""
DONE, FAILED = 0, 1
GRACE_S = 5.0  # beyond `timeouts.shutdown`, after which the server kills what is left
POLL_S = 0.02


def main(words: list[str]) -> int:
    """Stop it. Return the exit status: 0 it has ended, 1 not, 2 invalid usage."""
    return run_command("stop", HELP, words, _stop, takes_words=False)


def _stop(words: Words) -> int:
    answer = answered("stop", words.config, "stop")
    if answer is None:
        return FAILED
    pid, within_s = answer.result["pid"], answer.result["within_s"]
    if not _has_ended(pid, within_s + GRACE_S):
        print(f"npserver stop: process {pid} has not ended within {within_s + GRACE_S:g} s", file=sys.stderr)
        return FAILED
    print("stopped")
    return DONE


def _has_ended(pid: int, within_s: float) -> bool:
    """Wait for the end of a process that is not a child of this one."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if _is_gone(pid):
            return True
        time.sleep(POLL_S)
    return False


def _is_gone(pid: int) -> bool:
    """Whether the process has ended; one whose parent has not noticed yet (a zombie) has."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
