"""One access log of a process: which events it has, in which format, what it hides. `observe.access_log` owns it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from npserver.config.units import parse_percent
from npserver.observe.line_log import LineLog
from npserver.observe.log_formats import FORMATS
from npserver.observe.masking import mask_address, mask_endpoint
from npserver.observe.request_record import BriefQuery, RequestRecord, SessionRecord

if TYPE_CHECKING:
    from npserver.observe.config import AccessLogSection
    from npserver.observe.log_formats import Format
    from npserver.runtime.scoreboard import Row


class Only(Struct, frozen=True):
    """The conditions of a log (`only`): whether a record fulfils them; None: none of that type is written."""

    request: Callable[[RequestRecord], bool] | None = None
    session: Callable[[SessionRecord], bool] | None = None
    query: Callable[[BriefQuery], bool] | None = None


#: Makes the format of a log with texts of its own. The argument: whether queries are left out.
MakeFormat = Callable[[bool], "Format"]


class CompiledLog(Struct, frozen=True):
    """What is compiled of the settings of an access log."""

    only: Only | None = None
    own: MakeFormat | None = None
    gives_ids: bool = False  # its texts have `$request_id`


class AccessOutput(LineLog):
    """One access log."""

    __slots__ = ("_formats", "_hides_client", "_keeps_errors", "_only", "_share", "request")

    #: Writes the line of a finished request, if it is one of those that this log has.
    request: Callable[[RequestRecord], None]

    def __init__(self, loop: asyncio.AbstractEventLoop, row: Row | None = None) -> None:
        """Make the log; `configure` follows."""
        super().__init__(loop, "access log", "logging.access_log", row)

    def configure(self, config: AccessLogSection, compiled: CompiledLog, directory: str) -> None:
        """Apply the settings, which have a format and `hide`. A relative file name is resolved against `directory`."""
        self.open(config, directory)
        hidden = config.hide or []
        hides_query, only = "query" in hidden, compiled.only
        self._formats: Format
        if compiled.own is not None:
            self._formats = compiled.own(hides_query)
        else:
            self._formats = FORMATS[config.format or "pretty"](self._file.is_coloured, hides_query)
        if self.form:
            from npserver.observe.remote.messages import RemoteFormat

            self._formats = RemoteFormat(self._formats, self.form, hides_query=hides_query)
        self._hides_client = "client_ip" in hidden
        self._only = only
        self._share = parse_percent(config.sample)
        self._keeps_errors = config.keep_errors
        is_plain = only is None and self._share == 1 and not self._hides_client
        self.request = self._write if is_plain else self._choose

    def session(
        self, kind: str, listener: str, client: str, target: str, received: int, sent: int, duration_s: float,
        reason: str,
    ) -> None:  # fmt: skip
        """Write the end of a forwarded connection or session."""
        if self._only is not None:
            record = SessionRecord(kind, listener, client, target, received, sent, duration_s, reason)
            if self._only.session is None or not self._only.session(record):
                return
        if self._is_sampled():
            client = mask_endpoint(client) if self._hides_client else client
            self.add(self._formats.session(kind, listener, client, target, received, sent, duration_s, reason))

    def query(self, transport: str, client: str, name: str, type: str, rcode: str, blocked_by: str) -> None:
        """Write a DNS query."""
        if self._only is not None:
            record = BriefQuery(transport, client, name, type, rcode, blocked_by)
            if self._only.query is None or not self._only.query(record):
                return
        if self._is_sampled():
            client = mask_address(client) if self._hides_client else client
            self.add(self._formats.query(transport, client, name, type, rcode, blocked_by))

    def _write(self, record: RequestRecord) -> None:
        # hot: static-log
        self.add(self._formats.request(record))

    def _choose(self, record: RequestRecord) -> None:
        if self._only is not None and (self._only.request is None or not self._only.request(record)):
            return
        if not self._is_sampled() and not (self._keeps_errors and record.status >= 400):
            return
        if self._hides_client:
            record = replace(record, client_ip=mask_address(record.client_ip))
        self._write(record)

    def _is_sampled(self) -> bool:
        return self._share == 1 or random.random() < self._share
