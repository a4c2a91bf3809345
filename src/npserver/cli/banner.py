"""The table shown once everything serves: what listens and what it does; warnings below it. Goes to stderr."""

from __future__ import annotations

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
    """Show what serves, on stderr; as log lines where logs are JSON."""
    if runtime.document.config.logging.format == "json":
        for binding in bindings.values():
            log.info("serving %s", ", ".join(map(str, binding.addresses)))
        for problem in runtime.warnings:
            log.warning("%s", problem)
        return
    print(make_banner(runtime, bindings, workers, colour=wants_colour()), end="", file=sys.stderr, flush=True)


def wants_colour() -> bool:
    """Whether stderr is a terminal whose user has not asked for plain text (https://no-color.org)."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def make_banner(runtime: Runtime, bindings: dict[str, Binding], workers: int, *, colour: bool) -> str:
    """Give the lines, each ending in a newline."""
    bold, dim, cyan, yellow, plain = (_BOLD, _DIM, _CYAN, _YELLOW, _PLAIN) if colour else ("",) * 5
    processes = f"{workers} worker{'s' * (workers != 1)}" if workers else "one process"
    lines = [f"{bold}npserver {__version__}{plain} {dim}{processes}, {runtime.document.file}{plain}"]
    rows: list[tuple[str, str]] = []
    for binding in bindings.values():
        label = label_listener(binding.listener)
        name = label.removesuffix(str(binding.listener.address))
        places = [f"{name}{address}" for address in binding.addresses]
        deeds = [what for name, what in runtime.summary if name == label]
        height = max(len(places), len(deeds))
        places += [""] * (height - len(places))
        rows += zip(places, deeds + [""] * (height - len(deeds)), strict=True)
    width = max((len(place) for place, _ in rows), default=0)
    lines += [f"  {cyan}{place:<{width}}{plain}  {what}".rstrip() for place, what in rows]
    lines += [f"{yellow}{problem}{plain}" for problem in runtime.warnings]
    return "".join(f"{line}\n" for line in lines)
