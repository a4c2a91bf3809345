"""`npserver undrain`: have a drained target get requests again, or a listener take clients."""

from __future__ import annotations

from npserver.cli.running.answered import answered
from npserver.cli.running.drain import DONE, FAILED, target_of
from npserver.cli.words import Words, run_command

HELP = """\
usage: npserver undrain [-config FILE] TARGET|LISTENER

Have a drained target of the running server get requests and connections again, or a drained listener take clients.

  -config FILE    the server that runs with this config file (default: config.json)

The exit status is 0 when it is done, 1 if it is not drained or no server answers, 2 for invalid usage.
"""


def main(words: list[str]) -> int:
    """Undrain. Return the exit status: 0 done, 1 failed, 2 invalid usage."""
    return run_command("undrain", HELP, words, _undrain)


def _undrain(words: Words) -> int:
    answer = answered("undrain", words.config, "undrain", target=target_of(words))
    if answer is None:
        return FAILED
    print("takes clients again" if answer.result["is_listener"] else "gets requests again")
    return DONE
