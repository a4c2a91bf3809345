"""The query log: one line per DNS query, to a destination of its own (`logging.query_log`).

It says more than the lines of `logging.dns_queries` in the access log: flags, size, time, and what decided the answer.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from npserver.observe.config import query_log
from npserver.observe.escape import escape_control
from npserver.observe.line_log import LineLog
from npserver.observe.log_formats import Clock, UtcClock, size
from npserver.observe.masking import mask_address

if TYPE_CHECKING:
    from npserver.observe.config import Logging
    from npserver.observe.log_formats import QueryFormat
    from npserver.observe.request_record import QueryRecord
    from npserver.runtime.scoreboard import Row


class Pretty:
    """`16:07:01 192.168.1.7 udp nas.home. A NOERROR 58 B 0.1 ms (aa rd; zone home)`."""

    has_clock = True

    def __init__(self, is_coloured: bool) -> None:
        self._clock = Clock("\x1b[2m%H:%M:%S\x1b[0m" if is_coloured else "%H:%M:%S")

    def line(self, record: QueryRecord) -> str:
        """Return the line of a query."""
        notes = "; ".join([one for one in (" ".join(record.flags), escape_control(record.decided_by)) if one])
        return (
            f"{self._clock.text(time.time())} {record.client_ip} {record.transport} {escape_control(record.name)} "
            f"{record.type} {record.rcode} {size(record.size)} {record.duration_s * 1000:.1f} ms"
            f"{f' ({notes})' if notes else ''}\n"
        )


class Json:
    """One JSON object per line, with the time and the escapes of the access log in this format."""

    has_clock = False

    def __init__(self, is_coloured: bool) -> None:
        from json import JSONEncoder  # only this format needs it

        self._clock = UtcClock()
        self._quote = JSONEncoder(separators=(",", ":")).encode

    def line(self, record: QueryRecord) -> str:
        """Return the line of a query."""
        entry = {
            "time": self._clock.now(), "type": "query",
            "client_ip": record.client_ip, "transport": record.transport, "name": record.name, "qtype": record.type,
            "rcode": record.rcode, "flags": record.flags, "sent_bytes": record.size,
            "duration_ms": round(record.duration_s * 1000, 3), "decided_by": record.decided_by,
        }  # fmt: skip
        return self._quote(entry) + "\n"


class QueryLog(LineLog):
    """The query log of one process."""

    __slots__ = ("_format", "_hides_client")

    def __init__(self, loop: asyncio.AbstractEventLoop, row: Row | None = None) -> None:
        super().__init__(loop, "query log", "logging.query_log", row)
        self._format: QueryFormat | None = None
        self._hides_client = False

    def configure(self, config: Logging, directory: str) -> None:
        """Apply the settings. `combined`, which has requests alone, is `pretty` here."""
        section = query_log(config)
        self.open(section, directory)
        self._hides_client = "client_ip" in (section.hide or ())
        self._format = (Json if section.format == "json" else Pretty)(self._file.is_coloured) if self.enabled else None
        if self._format is not None and self.form:
            from npserver.observe.remote.messages import RemoteQueryFormat

            self._format = RemoteQueryFormat(self._format, self.form)

    def query(self, record: QueryRecord) -> None:
        """Log an answered query."""
        if self.enabled and self._format is not None:
            if self._hides_client:
                record.client_ip = mask_address(record.client_ip)
            self.add(self._format.line(record))
