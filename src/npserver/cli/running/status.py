"""`npserver status`: the state of a running server as a table or as JSON."""

from __future__ import annotations

import json
import shutil
import sys
import time
from typing import Any

from npserver.cli.running.answered import answered
from npserver.cli.words import Words, run_command

HELP = """\
usage: npserver status [-config FILE] [-json] [-watch]

Show a running server: its processes, listeners, targets with their health, certificates, bans, the last reload.

  -config FILE    the server that runs with this config file (default: config.json)
  -json           as JSON
  -watch          again each second, until interrupted; with -json one line each time

The exit status is 0 if all is well, 3 if something needs attention, which is shown: a process that is not ready, a
target that is down, a certificate that has expired or could not be renewed, a reload that failed. 1: no server answers;
2: invalid usage.
"""
WELL, FAILED, ATTENTION = 0, 1, 3
PERIOD_S = 1.0


def main(words: list[str]) -> int:
    """Show it. Return the exit status."""
    return run_command("status", HELP, words, _run, flags=("json", "watch"), takes_words=False)


def _run(words: Words) -> int:
    show = _watch if "watch" in words.options else _show
    return show(words.config, is_json="json" in words.options)


def _show(config: str, *, is_json: bool) -> int:
    from npserver.cli.running.table import table

    state = _ask(config)
    if state is None:
        return FAILED
    print(json.dumps(state, indent=1) if is_json else "\n".join(table(state)))
    return ATTENTION if state["attention"] else WELL


def _watch(config: str, *, is_json: bool) -> int:
    """Show it each second until the server ends or the user interrupts."""
    from npserver.cli.running.table import table

    is_terminal = sys.stdout.isatty()
    while True:
        state = _ask(config)
        if state is None:
            return FAILED
        if is_json:
            print(json.dumps(state), flush=True)
        else:
            lines = table(state)
            if is_terminal:
                columns, rows = shutil.get_terminal_size()
                shown = [line[:columns] for line in lines[: rows - 1]]
                print("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in shown) + "\x1b[J", end="", flush=True)
            else:
                print("\n".join(lines), end="\n\n", flush=True)
        try:
            time.sleep(PERIOD_S)
        except KeyboardInterrupt:
            return WELL


def _ask(config: str) -> dict[str, Any] | None:
    """Return the state with what the kernel says of it; None, with the reason printed, if no server answers."""
    from npserver.cli.running.system import add_system
    from npserver.cli.running.table import attention

    answer = answered("status", config, "status")
    if answer is None:
        return None
    state: dict[str, Any] = answer.result
    add_system(state)
    state["attention"] = attention(state)
    return state
