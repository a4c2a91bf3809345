"""`npserver check [-config FILE]`: says everything that is wrong with a config, without serving it.

Exit status 0 when it can be served, 2 when not.
"""

from __future__ import annotations

import sys

from npserver.errors import ConfigError, Problem, Severity

USAGE = "usage: npserver check [-config FILE]      (default: config.json)"
DEFAULT_CONFIG = "config.json"
GOOD, BAD = 0, 2


def main(words: list[str]) -> int:
    """Check the config that `words` name. Gives the exit status."""
    if words in (["-help"], ["--help"], ["-h"]):
        print(USAGE)
        return GOOD
    file = _file(words)
    if file is None:
        print(USAGE, file=sys.stderr)
        return BAD
    try:
        problems, served = check(file)
    except ConfigError as error:
        _print(error.problems)
        errors = sum(problem.severity is Severity.ERROR for problem in error.problems)
        print(f"{file}: {_count(errors, 'error')}{_warnings(error.problems)}", file=sys.stderr)
        return BAD
    _print(problems)
    print(f"{file}: ok{_warnings(problems)}")
    width = max([len(listener) for listener, _ in served], default=0)
    for listener, what in served:
        print(f"  {listener:<{width}}  {what}")
    return GOOD


def check(file: str) -> tuple[list[Problem], list[tuple[str, str]]]:
    """Load and compile a config as the server would. Gives the warnings, and per rule the listener and what it does.

    Raises: ConfigError with everything that is wrong.
    """
    from npserver.config.load import load
    from npserver.observe.scoreboard import Directory
    from npserver.process.rehearsal import rehearse

    runtime = rehearse(load(file), Directory())
    return list(runtime.warnings), list(runtime.summary)


def _file(words: list[str]) -> str | None:
    """The file that the words name; None if they are no valid usage."""
    match words:
        case []:
            return DEFAULT_CONFIG
        case ["-config" | "--config", file]:
            return file
        case [word] if word.startswith(("-config=", "--config=")):
            return word.partition("=")[2] or None
        case [file] if not file.startswith("-"):
            return file
    return None


def _print(problems: list[Problem]) -> None:
    for problem in problems:
        print(problem, file=sys.stderr)


def _warnings(problems: list[Problem]) -> str:
    count = sum(problem.severity is Severity.WARNING for problem in problems)
    return f", {_count(count, 'warning')}" if count else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
