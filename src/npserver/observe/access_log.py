"""The access log: one line per request, forwarded session or DNS query.

Lines are formatted at once, gathered in a list, and written together: by a timer, or when there are many. Made once per
process; `process` reopens it after rotation and gives it the new settings after a reload. The forms of the lines are in
`observe.log_formats`, the file in `observe.log_file`. With `off`, callers see `enabled` and do not call at all.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from npserver.observe.log_file import LogFile
from npserver.observe.log_formats import FORMATS

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.observe.config import Logging

FLUSH_S = 0.25  # a line is seen within this time
MAX_LINES = 256  # some 32 KB: written without waiting for the timer


class AccessLog:
    """One process's access log."""

    __slots__ = ("_file", "_formats", "_lines", "_loop", "_timer", "enabled", "queries")

    def __init__(self, config: Logging, loop: asyncio.AbstractEventLoop, directory: str = ".") -> None:
        self._loop = loop
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._file = LogFile()
        self.configure(config, directory)

    def configure(self, config: Logging, directory: str = ".") -> None:
        """Take the settings, first or new ones; a relative file name starts at `directory`."""
        name = config.access_log
        self.enabled = name != "off"
        self.flush()
        self.queries = self.enabled and config.dns_queries
        self._file.open(name if name in ("stdout", "stderr", "off") else os.path.join(directory, name))
        self._formats = FORMATS[config.format](self._file.is_coloured)

    # ── what is logged ──

    def request(
        self,
        *,
        client_ip: str,
        request: Request,
        scheme: str,
        status: int,
        received: int,
        sent: int,
        duration_s: float,
        upstream: str,
        request_id: str,
        user: str,
    ) -> None:
        """An exchange has ended. `received` and `sent` are bytes of bodies; `user` is who logged in, or nothing."""
        # hot: access-log
        if self.enabled:
            self._add(
                self._formats.request(
                    client_ip, request, scheme, status, received, sent, duration_s, upstream, request_id, user
                )
            )

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
        """A forwarded connection, a UDP session or a tunnel has ended. `received` came from the client."""
        if self.enabled:
            self._add(self._formats.session(kind, listener, client, target, received, sent, duration_s, reason))

    def query(self, *, transport: str, client: str, name: str, type: str, rcode: str) -> None:
        """A DNS query was answered; logged where `logging.dns_queries` says so."""
        if self.queries:
            self._add(self._formats.query(transport, client, name, type, rcode))

    # ── writing ──

    def flush(self) -> None:
        """Write what has gathered."""
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
        """Go on in a new file of the same name: the old one was moved away."""
        self.flush()
        self._file.reopen()

    def close(self) -> None:
        """Write the rest and close the file."""
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
