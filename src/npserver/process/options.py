"""The options of one run of the program, made by `cli.serve` for the master or the single process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.listen.binding import Binding
    from npserver.process.config_source import ConfigSource
    from npserver.process.upgrade.predecessor import Predecessor
    from npserver.program.runtime import Runtime

WATCH_PERIOD_S = 1.0  # between two checks of a watched config file


class RunOptions(Struct, frozen=True):
    """The config to serve, where it can be read again, and how to run."""

    source: ConfigSource
    document: Document
    workers: int
    watch: bool = False  # whether a change of the config file starts a reload
    #: Called once all processes serve; prints the start-up table.
    announce: Callable[[Runtime, dict[str, Binding]], None] = lambda runtime, bindings: None
    predecessor: Predecessor | None = None  # the running program that this one succeeds (`npserver upgrade`)
