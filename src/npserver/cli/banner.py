"""The start-up table on stderr: each listener with what it serves, followed by the config's warnings."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import TYPE_CHECKING

from npserver import __version__
from npserver.program.summary import label_listener

if TYPE_CHECKING:
    from npserver.listen.binding import Binding
    from npserver.program.runtime import Runtime

log = logging.getLogger("npserver.server")

_BOLD, _DIM, _CYAN, _YELLOW, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[36m", "\x1b[33m", "\x1b[0m"


def print_banner(runtime: Runtime, bindings: dict[str, Binding], workers: int) -> None:
    """Print the start-up table to stderr, or log the listeners if the logs are JSON."""
    if runtime.document.config.logging.format == "json":
        for binding in bindings.values():
            if binding.listener.is_shown:
                log.info("serving %s", binding.listener.ports or ", ".join(map(str, binding.addresses)))
        for problem in runtime.warnings:
            log.warning("%s", problem)
        return
    with contextlib.suppress(OSError):  # the terminal was closed
        print(make_banner(runtime, bindings, workers, colour=wants_colour()), end="", file=sys.stderr, flush=True)


def wants_colour() -> bool:
    """Return whether stderr is a terminal and the user has not asked for plain text (https://no-color.org)."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def make_banner(runtime: Runtime, bindings: dict[str, Binding], workers: int, *, colour: bool) -> str:
    """Return the lines of the table, each with a line feed."""
    bold, dim, cyan, yellow, plain = (_BOLD, _DIM, _CYAN, _YELLOW, _PLAIN) if colour else ("",) * 5
    processes = f"{workers} worker{'s' * (workers != 1)}" if workers else "one process"
    lines = [f"{bold}npserver {__version__}{plain} {dim}{processes}, {runtime.document.file}{plain}"]
    rows: list[tuple[str, str]] = []
    for binding in bindings.values():
        if not binding.listener.is_shown:
            continue
        label = label_listener(binding.listener)
        name = label.removesuffix(str(binding.listener.address))
        addresses = [label] if binding.listener.ports else [f"{name}{address}" for address in binding.addresses]
        summaries = [what for name, what in runtime.summary if name == label]
        height = max(len(addresses), len(summaries))
        addresses += [""] * (height - len(addresses))
        rows += zip(addresses, summaries + [""] * (height - len(summaries)), strict=True)
    width = max((len(address) for address, _ in rows), default=0)
    lines += [f"  {cyan}{address:<{width}}{plain}  {what}".rstrip() for address, what in rows]
    lines += [f"{yellow}{problem}{plain}" for problem in runtime.warnings]
    return "".join(f"{line}\n" for line in lines)
