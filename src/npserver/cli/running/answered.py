"""A question of a command to the running server: what keeps it from being answered is printed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from npserver.process.control.client import ANSWER_WITHIN_S, ask, no_server

if TYPE_CHECKING:
    from npserver.process.control.protocol import Answer


def answered(
    command: str, config: str, asked: str, within_s: float | None = ANSWER_WITHIN_S, **arguments: Any
) -> Answer | None:
    """Have the server that runs with a config carry out `asked` for a command. Return its answer.

    None, with the reason printed, if no server answers or it has not carried it out. `within_s`: as for `ask`.
    """
    try:
        answer = ask(config, asked, within_s=within_s, **arguments)
    except OSError:
        print(no_server(command, config), file=sys.stderr)
        return None
    for error in answer.errors:
        print(f"npserver {command}: {error}", file=sys.stderr)
    return None if answer.errors else answer
