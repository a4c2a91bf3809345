"""The words after a command: read for the commands that take options by name, `-config` among them, and other words.

The server itself reads its own by `cli.arguments`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection

from msgspec import Struct

from npserver.cli.arguments import DEFAULT_CONFIG, UsageError
from npserver.errors import clip

USAGE = 2  # the exit status


class Words(Struct):
    """What follows a command."""

    rest: list[str] = []
    options: dict[str, str] = {}  # those given, by their names without dashes; a flag has ""

    @property
    def config(self) -> str:
        """The file that `-config` names."""
        return self.options.get("config", DEFAULT_CONFIG)


def run_command(
    command: str,
    text: str,
    words: list[str],
    run: Callable[[Words], int],
    *,
    flags: Collection[str] = (),
    values: Collection[str] = (),
    takes_words: bool = True,
) -> int:
    """Run a command with its words, or print its help. Return the exit status: that of `run`, or 2 for invalid usage.

    Args:
        command: its name, for messages.
        text: the help.
        words: what follows the command.
        run: may raise UsageError, which is printed with the help.
        flags: options without a value, named without dashes.
        values: options whose value is the next word, besides `-config`.
        takes_words: whether there may be words that are no options.
    """
    if words in (["-help"], ["--help"], ["-h"]):
        print(text, end="")
        return 0
    read = Words()
    remaining = iter(words)
    try:
        for word in remaining:
            name = word.removeprefix("-").removeprefix("-") if word.startswith("-") else ""
            if not word.startswith("-"):
                if not takes_words:
                    raise UsageError(f"unexpected {clip(word)}: the config is named by -config FILE")
                read.rest.append(word)
            elif name == "config" or name in values:
                if (value := next(remaining, "")) == "":
                    raise UsageError(f"-{name} expects a value")
                read.options[name] = value
            elif name in flags:
                read.options[name] = ""
            else:
                raise UsageError(f"unknown option {clip(word)}")
        return run(read)
    except UsageError as error:
        print(f"npserver {command}: {error}\n\n{text}", end="", file=sys.stderr)
        return USAGE
