"""A log of lines that are gathered and written together: by a timer, or when there are many.

Each process has its own, which is reopened after log rotation and reconfigured by a reload. Base of
`observe.access_output.AccessOutput` and `observe.query_log.QueryLog`; `observe.log_file` writes the lines,
`observe.remote.connection` sends them.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from npserver.observe.config import STANDARD, LogDestination
from npserver.observe.log_file import LogFile
from npserver.observe.remote.destinations import is_remote
from npserver.runtime.tasks import spawn

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.observe.remote.connection import RemoteLog
    from npserver.runtime.scoreboard import Row

FLUSH_S = 0.25  # a line is written within this time
MAX_LINES = 256  # about 32 KB; they are written without waiting for the timer
FINISH_S = 2.0  # time for the last lines to reach a receiver, at a shutdown or when a reload removes a log


def dropped_counter(what: str, to: str) -> str:
    """Return the name of the counter of lines that an output did not take. `what`: `access log` or `query log`."""
    return f"log.dropped_lines.{what.removesuffix(' log')} {to}"


class LineLog:
    """The lines of one process for one output. `what`: of the messages about it; `key`: that names the output.

    `row`: of the process on the scoreboard, where lines that the output does not take are counted.
    """

    __slots__ = ("_file", "_key", "_lines", "_loop", "_remote", "_row", "_timer", "_what", "enabled", "form")

    def __init__(self, loop: asyncio.AbstractEventLoop, what: str, key: str, row: Row | None = None) -> None:
        self._loop = loop
        self._row = row
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._what, self._key = what, key
        self._file: LogFile | RemoteLog = LogFile(what, key)
        self._remote: tuple[str, str | None] | None = None  # the destination that lines are sent to
        self.form = ""  # of the messages that are sent (`observe.remote.destinations`); "": lines are written to a file
        self.enabled = False  # callers check it first, so that a disabled log costs nothing

    @property
    def is_remote(self) -> bool:
        """Whether lines are sent, so that the last take time (`finish`)."""
        return bool(self.form)

    def open(self, to: LogDestination, directory: str) -> None:
        """Switch to an output, once the lines before are written. Relative names are resolved against `directory`."""
        name = to.to
        self.enabled = name != "off"
        self.flush()
        remote = (name, to.ca) if is_remote(name) else None
        if remote != self._remote:
            self._leave()
            self._remote = remote
            if remote is not None:
                from npserver.observe.remote.connection import make_remote_log  # few configs have one

                self._file.close()
                self._file, self.form = make_remote_log(self._loop, to, directory, self._what, self._key)
        if isinstance(self._file, LogFile):
            self._file.open(name if name in STANDARD else os.path.join(directory, name))
        if self._row is not None and self.enabled:
            self._file.on_lost = _count_in(self._row, dropped_counter(self._what, name))

    def _leave(self) -> None:
        """Send the last lines for the destination before in the background."""
        file = self._file
        if not isinstance(file, LogFile):
            self._file, self.form = LogFile(self._what, self._key), ""
            spawn(file.finish(FINISH_S), f"sending the last lines of the {self._what}", None)

    async def finish(self) -> None:
        """Write what waits, for `FINISH_S` at most, and close the output."""
        self.flush()
        if not isinstance(self._file, LogFile):
            await self._file.finish(FINISH_S)
        self.close()

    def flush(self) -> None:
        """Write the gathered lines."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines or self._file.is_behind:
            lines, self._lines = self._lines, []
            self._file.write_lines(lines)
        if self._file.is_behind and self.enabled:
            self._timer = self._loop.call_later(FLUSH_S, self._flush_on_time)

    def reopen(self) -> None:
        """Open the file again by its name, after log rotation has moved it away."""
        self.flush()
        self._file.reopen()

    def close(self) -> None:
        """Write the remaining lines and close the file."""
        self.enabled = False
        self.flush()
        self._file.close()

    def add(self, line: str) -> None:
        """Write a line soon; "" is none."""
        if not line:
            return
        lines = self._lines
        lines.append(line)
        if len(lines) >= MAX_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(FLUSH_S, self._flush_on_time)

    def _flush_on_time(self) -> None:
        self._timer = None
        self.flush()


def _count_in(row: Row, name: str) -> Callable[[int], None]:
    def count(lines: int) -> None:
        row.slots[row.slot(name)] += lines

    return count
