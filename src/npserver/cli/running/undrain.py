"""`npserver undrain`: have a drained target get requests again, or a listener take clients."""

from __future__ import annotations

from npserver.cli.running.answered import answered
from npserver.cli.running.drain import DONE, FAILED, HELP, target_of
from npserver.cli.words import Words, run_command


def main(words: list[str]) -> int:
    """Undrain. Return the exit status: 0 done, 1 failed, 2 invalid usage."""
    return run_command("undrain", HELP, words, _undrain)


def _undrain(words: Words) -> int:
    answer = answered("undrain", words.config, "undrain", target=target_of(words))
    if answer is None:
        return FAILED
    print("takes clients again" if answer.result["is_listener"] else "gets requests again")
    return DONE
