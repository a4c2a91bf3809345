"""`npserver log`: set the level of an area of the log in a running server."""

from __future__ import annotations

import sys

from npserver.cli.check import DEFAULT_CONFIG
from npserver.errors import clip
from npserver.process.control.client import ask, no_server

HELP = """\
usage: npserver log [-config FILE] AREA LEVEL

Set the level of an area of the running server's log, such as http, upstream or dns, or of all, in all its processes,
until the next reload: trace, debug, info, warn, error, fatal or off.

  -config FILE    the server that runs with this config file (default: config.json)
"""
DONE, FAILED, USAGE = 0, 1, 2


def main(words: list[str]) -> int:
    """Set it. Return the exit status: 0 done, 1 failed, 2 invalid usage."""
    if words in (["-help"], ["--help"], ["-h"]):
        print(HELP, end="")
        return DONE
    config, named = DEFAULT_CONFIG, []
    rest = iter(words)
    for word in rest:
        if word in ("-config", "--config"):
            config = next(rest, "")
        elif word.startswith("-"):
            return _misused(f"unknown option {clip(word)}")
        else:
            named.append(word)
    if len(named) != 2 or not config:
        return _misused("expected an area and a level")
    try:
        answer = ask(config, "log", area=named[0], level=named[1])
    except OSError:
        print(no_server("log", config), file=sys.stderr)
        return FAILED
    if answer.errors:
        print(f"npserver log: {answer.errors[0]}", file=sys.stderr)
        return FAILED
    print(f"{named[0]}: {named[1]} until the next reload")
    return DONE


def _misused(message: str) -> int:
    print(f"npserver log: {message}\n\n{HELP}", end="", file=sys.stderr)
    return USAGE
