"""A log of lines that are gathered and written together: by a timer, or when there are many.

Each process has its own, which is reopened after log rotation and reconfigured by a reload. Base of
`observe.access_output.AccessOutput` and `observe.query_log.QueryLog`; `observe.log_file` writes the lines,
`observe.remote_log` sends them.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from npserver.observe.config import STANDARD
from npserver.observe.log_file import LogFile

if TYPE_CHECKING:
    from npserver.observe.remote_log import RemoteLog

FLUSH_S = 0.25  # a line is written within this time
MAX_LINES = 256  # about 32 KB; they are written without waiting for the timer


class LineLog:
    """The lines of one process for one output. `what`: of the messages about it; `key`: that names the output."""

    __slots__ = ("_file", "_lines", "_loop", "_timer", "enabled")

    def __init__(self, loop: asyncio.AbstractEventLoop, what: str, key: str) -> None:
        self._loop = loop
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._file: LogFile | RemoteLog = LogFile(what, key)
        self.enabled = False  # callers check it first, so that a disabled log costs nothing

    @property
    def lost(self) -> int:
        """The lines of this process that could not be written."""
        return self._file.lost

    def open(self, name: str, directory: str) -> None:
        """Switch to an output, once the lines before are written. A relative name is resolved against `directory`."""
        self.enabled = name != "off"
        self.flush()
        if isinstance(self._file, LogFile):
            self._file.open(name if name in STANDARD else os.path.join(directory, name))

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
