"""`npserver log`: set the level of an area of the log in a running server."""

from __future__ import annotations

from npserver.cli.arguments import UsageError
from npserver.cli.running.answered import answered
from npserver.cli.words import Words, run_command

HELP = """\
usage: npserver log [-config FILE] AREA LEVEL

Set the level of an area of the running server's log, such as http, upstream or dns, or of all, in all its processes,
until the next reload: trace, debug, info, warn, error, fatal or off.

  -config FILE    the server that runs with this config file (default: config.json)
"""
DONE, FAILED = 0, 1


def main(words: list[str]) -> int:
    """Set it. Return the exit status: 0 done, 1 failed, 2 invalid usage."""
    return run_command("log", HELP, words, _set)


def _set(words: Words) -> int:
    if len(words.rest) != 2:
        raise UsageError("expected an area and a level")
    area, level = words.rest
    if answered("log", words.config, "log", area=area, level=level) is None:
        return FAILED
    print(f"{area}: {level} until the next reload")
    return DONE
