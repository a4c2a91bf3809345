"""The output of the access log, or of the query log: stdout, stderr or a file that several processes append to.

Writing never blocks and never raises. Lines that cannot be written (disk full, a pipe that nobody reads) are dropped
and counted; the server log reports the first failure and the recovery. `observe.line_log` passes complete lines.
"""

from __future__ import annotations

import logging
import os
import select
import stat
from collections.abc import Callable, Sequence

from npserver.errors import clip

log = logging.getLogger("npserver.server")

MAX_WAITING = 1 << 20  # bytes queued for a pipe whose reader is slow
#: Writes to a pipe up to this size are atomic (POSIX: PIPE_BUF is at least 512, on Linux 4096), and do not block when
#: `poll` reports the pipe writable.
PIPE_BUF = getattr(select, "PIPE_BUF", 512)

_STANDARD = {"stdout": 1, "stderr": 2}


def ignore(lines: int) -> None:
    """Count no lines."""


class LogFile:
    """An open file, pipe or terminal; or none, which drops all lines."""

    __slots__ = (
        "_descriptor",
        "_is_cut",
        "_is_failing",
        "_is_pipe",
        "_key",
        "_name",
        "_poll",
        "_waiting",
        "_what",
        "dropped",
        "on_lost",
    )

    def __init__(self, what: str = "access log", key: str = "logging.access_log") -> None:
        """Create it without an output. `what` and `key`: of messages about it."""
        self._what, self._key = what, key
        self._name = "off"
        self._descriptor = -1
        self._is_pipe = False
        self._poll = select.poll()
        self._waiting = b""  # queued for a full pipe
        self._is_failing = False
        self._is_cut = False  # the last line in the file is incomplete
        self.dropped = 0  # lines dropped since the last successful write
        self.on_lost: Callable[[int], None] = ignore  # called with the number of lines that are dropped

    def __repr__(self) -> str:
        return f"<LogFile {self._name} dropped={self.dropped}>"

    @property
    def is_behind(self) -> bool:
        """Whether data is queued for a full pipe; the next `write` sends it first."""
        return bool(self._waiting)

    @property
    def is_coloured(self) -> bool:
        """Whether colours may be used: the output is a terminal, and the user has not set NO_COLOR."""
        is_wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return is_wanted and self._descriptor >= 0 and os.isatty(self._descriptor)

    def open(self, name: str) -> None:
        """Switch to the output `name`: `stdout`, `stderr`, `off` or a file. Failure to open it is logged."""
        if name != self._name:
            self.close()
            self._name = name
            self.reopen()

    def reopen(self) -> None:
        """Open the file again by its name. The old file stays in use if that fails."""
        if self._name == "off":
            return
        try:
            descriptor = _STANDARD.get(self._name, -1)
            if descriptor < 0:
                descriptor = os.open(self._name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            mode = os.fstat(descriptor).st_mode
        except OSError as error:
            log.error("cannot open the %s %s (%s): %s", self._what, clip(self._name), self._key, error.strerror)
            return
        self._release()
        self._descriptor = descriptor
        self._is_pipe = not stat.S_ISREG(mode)
        self._is_cut = False
        if self._is_pipe:
            self._poll.register(descriptor, select.POLLOUT)

    def close(self) -> None:
        """Close the file; standard streams stay open."""
        self._release()
        self._name = "off"

    def write_lines(self, lines: Sequence[str]) -> None:
        """Append lines, each with its line feed."""
        self.write("".join(lines).encode("utf-8", "backslashreplace"))

    def write(self, data: bytes) -> None:
        """Append complete lines."""
        if self._descriptor < 0:
            self._drop(data)
            return
        try:
            if self._is_pipe:
                self._write_pipe(data)
            else:
                self._write_file(data)
        except OSError as error:
            if not self._is_failing:
                self._is_failing = True
                log.error(
                    "cannot write to the %s %s (%s), dropping lines: %s",
                    self._what,
                    clip(self._name),
                    self._key,
                    error.strerror,
                )
            self._drop(self._waiting + data)
            self._waiting = b""
            return
        if self._is_failing:
            self._is_failing = False
            log.warning(
                "the %s %s can be written again, %d lines were dropped", self._what, clip(self._name), self.dropped
            )
            self.dropped = 0

    def _write_file(self, data: bytes) -> None:
        if self._is_cut:
            data = b"\n" + data
        while data:
            written = os.write(self._descriptor, data)
            self._is_cut = written < len(data)
            data = data[written:]

    def _write_pipe(self, data: bytes) -> None:
        """Write complete lines as long as the pipe is writable; queue the rest, up to MAX_WAITING bytes."""
        waiting = self._waiting + data
        start = 0
        while start < len(waiting):
            ready = self._poll.poll(0)
            if not ready:
                break
            end = waiting.rfind(b"\n", start, start + PIPE_BUF) + 1 or start + PIPE_BUF
            try:
                start += os.write(self._descriptor, waiting[start:end])
            except BlockingIOError:
                break
        rest = waiting[start:]
        if len(rest) > MAX_WAITING:
            cut = rest.rfind(b"\n", 0, MAX_WAITING) + 1
            self._drop(rest[cut:])
            rest = rest[:cut]
        self._waiting = rest

    def _drop(self, data: bytes) -> None:
        lines = data.count(b"\n")
        self.dropped += lines
        self.on_lost(lines)

    def _release(self) -> None:
        if self._descriptor < 0:
            return
        if self._is_pipe:
            self._poll.unregister(self._descriptor)
        if self._name not in _STANDARD:
            os.close(self._descriptor)
        self._descriptor = -1
        self._waiting = b""
