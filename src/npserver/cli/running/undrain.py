"""`npserver undrain`: see `cli.running.drain`."""

from __future__ import annotations

from npserver.cli.running.drain import run


def main(words: list[str]) -> int:
    """Run it. Return the exit status: 0 done, 1 failed, 2 invalid usage."""
    return run("undrain", words)
