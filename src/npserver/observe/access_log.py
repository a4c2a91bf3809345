"""The access log: one line per request, forwarded session or DNS query.

Lines are formatted by `observe.log_formats` when they are logged, and written in batches (`observe.line_log`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from npserver.observe.line_log import LineLog
from npserver.observe.log_formats import FORMATS, Format, WithIds
from npserver.observe.query_log import QueryLog

if TYPE_CHECKING:
    from npserver.observe.config import Logging
    from npserver.observe.request_record import RequestRecord


class AccessLog(LineLog):
    """The access log of one process, and beside it the query log."""

    __slots__ = ("_formats", "gives_ids", "queries", "query_log")

    def __init__(self, config: Logging, loop: asyncio.AbstractEventLoop, directory: str = ".") -> None:
        super().__init__(loop, "access log", "logging.access_log")
        self.query_log = QueryLog(loop)
        self.configure(config, directory)

    def configure(self, config: Logging, directory: str = ".") -> None:
        """Apply the settings. A relative file name is resolved against `directory`."""
        self.open(config.access_log, directory)
        self.queries = self.enabled and config.dns_queries
        self.query_log.configure(config, directory)
        self._formats: Format = FORMATS[config.format](self._file.is_coloured)
        self.gives_ids = config.request_ids
        if self.gives_ids:
            self._formats = WithIds(self._formats)

    # ── events ──

    def request(self, record: RequestRecord) -> None:
        """Log a finished request."""
        # hot: static-log
        if self.enabled:
            self.add(self._formats.request(record))

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
            self.add(self._formats.session(kind, listener, client, target, received, sent, duration_s, reason))

    def query(self, *, transport: str, client: str, name: str, type: str, rcode: str, blocked_by: str = "") -> None:
        """Log an answered DNS query, if `logging.dns_queries` is on. `blocked_by`: the key that has decided so."""
        if self.queries:
            self.add(self._formats.query(transport, client, name, type, rcode, blocked_by))

    # ── writing ──

    def reopen(self) -> None:
        """Open the files again by their names, after log rotation has moved them away."""
        super().reopen()
        self.query_log.reopen()

    def close(self) -> None:
        """Write the remaining lines and close the files."""
        self.queries = False
        super().close()
        self.query_log.close()
