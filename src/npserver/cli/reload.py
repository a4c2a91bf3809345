"""`npserver reload`: make the running server reload its config file, and report the outcome."""

from __future__ import annotations

import os
import signal
import sys

import msgspec

from npserver.cli.words import Words, run_command
from npserver.errors import reason_of
from npserver.process.control.client import ask, no_server
from npserver.process.reload_outcome import ReloadOutcome, with_included

HELP = """\
usage: npserver reload [-config FILE]
       npserver reload -pidfile FILE

Make a running server reload its config file. If the new config has errors, the server keeps the current one.

  -config FILE    the server that runs with this config file (default: config.json); its errors and warnings are printed
  -pidfile FILE   the server that wrote this process id file: it gets a SIGHUP and logs the outcome
"""


def main(words: list[str]) -> int:
    """Reload. Return the exit status: 0 reloaded, 1 failed, 2 invalid usage."""
    return run_command("reload", HELP, words, _run, values=("pidfile",), takes_words=False)


def _run(words: Words) -> int:
    if (pidfile := words.options.get("pidfile")) is not None:
        return _signal(pidfile)
    config = words.config
    try:
        answer = ask(config, "reload")
    except OSError:
        print(f"{no_server('reload', config)} (if another user runs it, send it SIGHUP)", file=sys.stderr)
        return 1
    outcome = ReloadOutcome(answer.errors) if answer.errors else msgspec.convert(answer.result, ReloadOutcome)
    for line in outcome.warnings + outcome.errors:
        print(line, file=sys.stderr)
    print(outcome.summary if outcome.errors else f"reloaded{with_included(outcome.included)}")
    return 1 if outcome.errors else 0


def _signal(path: str) -> int:
    try:
        with open(path, encoding="ascii") as file:
            os.kill(int(file.read()), signal.SIGHUP)
    except (OSError, ValueError) as error:
        print(f"npserver reload: cannot signal the server of -pidfile {path}: {reason_of(error)}", file=sys.stderr)
        return 1
    print("SIGHUP sent; the server logs the outcome of the reload")
    return 0
