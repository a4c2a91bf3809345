"""`npserver upgrade`: replace the running program by the one that is installed now, and report the outcome."""

from __future__ import annotations

import sys

from npserver.cli.check import DEFAULT_CONFIG
from npserver.errors import clip
from npserver.process.control.client import ask, no_server

HELP = """\
usage: npserver upgrade [-config FILE] [-within SECONDS]

Have a running server start the program that is installed now, with the same arguments. The new program takes over
the listening sockets once it is ready; connections of the old one continue for timeouts.shutdown at most. If the new
program cannot start, the old one goes on as before.

  -config FILE      the server that runs with this config file (default: config.json)
  -within SECONDS   time for the new program to be ready (default: 60)
"""
DONE, FAILED, USAGE = 0, 1, 2
MAX_WITHIN_S = 3600.0


def main(words: list[str]) -> int:
    """Upgrade. Return the exit status: 0 done, 1 failed and the old program goes on, 2 invalid usage."""
    if words in (["-help"], ["--help"], ["-h"]):
        print(HELP, end="")
        return DONE
    config, within_s = DEFAULT_CONFIG, 60.0
    rest = iter(words)
    for word in rest:
        if word in ("-config", "--config"):
            config = next(rest, "")
        elif word in ("-within", "--within"):
            within_s = _seconds(next(rest, ""))
        else:
            return _misused(f"unexpected {clip(word)}")
    if not config or not 0 < within_s <= MAX_WITHIN_S:
        return _misused("-config takes a file" if not config else f"-within takes seconds, up to {MAX_WITHIN_S:g}")
    try:
        answer = ask(config, "upgrade", within_s=None, seconds=within_s)
    except OSError:
        print(no_server("upgrade", config), file=sys.stderr)
        return FAILED
    for line in answer.errors:
        print(f"npserver upgrade: {line}", file=sys.stderr)
    if answer.errors:
        return FAILED
    print(f"upgraded: process {answer.result['pid']} serves")
    return DONE


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _misused(message: str) -> int:
    print(f"npserver upgrade: {message}\n{HELP}", end="", file=sys.stderr)
    return USAGE
