"""`npserver upgrade`: replace the running program by the one that is installed now, and report the outcome."""

from __future__ import annotations

from npserver.cli.arguments import UsageError
from npserver.cli.running.answered import answered
from npserver.cli.words import Words, run_command

HELP = """\
usage: npserver upgrade [-config FILE] [-within SECONDS]

Have a running server start the program that is installed now, with the same arguments. The new program takes over
the listening sockets once it is ready; connections of the old one continue for timeouts.shutdown at most. If the new
program cannot start, the old one goes on as before.

  -config FILE      the server that runs with this config file (default: config.json)
  -within SECONDS   time for the new program to be ready (default: 60)
"""
DONE, FAILED = 0, 1
MAX_WITHIN_S = 3600.0


def main(words: list[str]) -> int:
    """Upgrade. Return the exit status: 0 done, 1 failed and the old program goes on, 2 invalid usage."""
    return run_command("upgrade", HELP, words, _run, values=("within",), takes_words=False)


def _run(words: Words) -> int:
    within_s = _seconds(words.options.get("within", "60"))
    if not 0 < within_s <= MAX_WITHIN_S:
        raise UsageError(f"-within takes seconds, up to {MAX_WITHIN_S:g}")
    answer = answered("upgrade", words.config, "upgrade", within_s=None, seconds=within_s)
    if answer is None:
        return FAILED
    print(f"upgraded: process {answer.result['pid']} serves")
    return DONE


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
