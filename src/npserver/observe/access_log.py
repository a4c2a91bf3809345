"""The access log: one line per request, forwarded session or DNS query.

Lines are formatted when they are logged, and written in batches: by a timer, or when there are many. Each process has
one access log, which is reopened after log rotation and reconfigured by a reload. `observe.log_formats` formats the
lines, `observe.log_file` writes them. Callers check `enabled` first, so that a disabled log costs nothing.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from npserver.observe.log_file import LogFile
from npserver.observe.log_formats import FORMATS, Format, WithIds

if TYPE_CHECKING:
    from npserver.observe.config import Logging
    from npserver.observe.request_record import RequestRecord

FLUSH_S = 0.25  # a line is written within this time
MAX_LINES = 256  # about 32 KB; they are written without waiting for the timer


class AccessLog:
    """The access log of one process."""

    __slots__ = ("_file", "_formats", "_lines", "_loop", "_timer", "enabled", "gives_ids", "queries")

    def __init__(self, config: Logging, loop: asyncio.AbstractEventLoop, directory: str = ".") -> None:
        self._loop = loop
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._file = LogFile()
        self.configure(config, directory)

    def configure(self, config: Logging, directory: str = ".") -> None:
        """Apply the settings. A relative file name is resolved against `directory`."""
        name = config.access_log
        self.enabled = name != "off"
        self.flush()
        self.queries = self.enabled and config.dns_queries
        self._file.open(name if name in ("stdout", "stderr", "off") else os.path.join(directory, name))
        self._formats: Format = FORMATS[config.format](self._file.is_coloured)
        self.gives_ids = config.request_ids
        if self.gives_ids:
            self._formats = WithIds(self._formats)

    # ── events ──

    def request(self, record: RequestRecord) -> None:
        """Log a finished request."""
        # hot: static-log
        if self.enabled:
            self._add(self._formats.request(record))

    def session(
        self,
        *,
        kind: str,
        listener: str,
        client: str,
        target: str,
        received: int,
        sent: int,
        duration_s: float,
        reason: str,
    ) -> None:
        """Log the end of a forwarded connection, session or tunnel. `received` bytes came from the client."""
        if self.enabled:
            self._add(self._formats.session(kind, listener, client, target, received, sent, duration_s, reason))

    def query(self, *, transport: str, client: str, name: str, type: str, rcode: str, blocked_by: str = "") -> None:
        """Log an answered DNS query, if `logging.dns_queries` is on. `blocked_by`: the key that has decided so."""
        if self.queries:
            self._add(self._formats.query(transport, client, name, type, rcode, blocked_by))

    # ── writing ──

    def flush(self) -> None:
        """Write the gathered lines."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines or self._file.is_behind:
            data = "".join(self._lines).encode("utf-8", "backslashreplace")
            self._lines.clear()
            self._file.write(data)
        if self._file.is_behind and self.enabled:
            self._timer = self._loop.call_later(FLUSH_S, self._flush_on_time)

    def reopen(self) -> None:
        """Open the file again by its name, after log rotation has moved it away."""
        self.flush()
        self._file.reopen()

    def close(self) -> None:
        """Write the remaining lines and close the file."""
        self.enabled = self.queries = False
        self.flush()
        self._file.close()

    def _add(self, line: str) -> None:
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
