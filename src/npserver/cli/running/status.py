"""`npserver status`: the state of a running server as a table or as JSON."""

from __future__ import annotations

import json
import shutil
import sys
import time
from typing import Any

from npserver.cli.check import DEFAULT_CONFIG
from npserver.errors import clip
from npserver.process.control.client import ask, no_server

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
WELL, FAILED, USAGE, ATTENTION = 0, 1, 2, 3
PERIOD_S = 1.0


def main(words: list[str]) -> int:
    """Show it. Return the exit status."""
    if words in (["-help"], ["--help"], ["-h"]):
        print(HELP, end="")
        return WELL
    config, is_json, is_watched = DEFAULT_CONFIG, False, False
    rest = iter(words)
    for word in rest:
        if word in ("-config", "--config"):
            config = next(rest, "")
        elif word in ("-json", "--json"):
            is_json = True
        elif word in ("-watch", "--watch"):
            is_watched = True
        else:
            return _misused(f"unknown option {clip(word)}")
    if not config:
        return _misused("-config needs a file")
    if not is_watched:
        return _show(config, is_json=is_json)
    return _watch(config, is_json=is_json)


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

    try:
        answer = ask(config, "status")
    except OSError:
        print(no_server("status", config), file=sys.stderr)
        return None
    if answer.errors:
        print(f"npserver status: {answer.errors[0]}", file=sys.stderr)
        return None
    state: dict[str, Any] = answer.result
    add_system(state)
    state["attention"] = attention(state)
    return state


def _misused(message: str) -> int:
    print(f"npserver status: {message}\n\n{HELP}", end="", file=sys.stderr)
    return USAGE
