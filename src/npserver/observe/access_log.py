"""The access logs: one line per request, forwarded session or DNS query in each (`observe.access_output`).

Lines are formatted by `observe.log_formats` when they are logged, and written in batches (`observe.line_log`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from npserver.observe.access_output import AccessOutput, CompiledLog
from npserver.observe.config import access_logs, is_compiled
from npserver.observe.query_log import QueryLog
from npserver.runtime.tasks import spawn

if TYPE_CHECKING:
    from npserver.observe.config import Logging
    from npserver.observe.request_record import RequestRecord
    from npserver.runtime.scoreboard import Row


class AccessLog:
    """The access logs of one process, and beside them the query log."""

    __slots__ = ("_loop", "_outputs", "_row", "enabled", "gives_ids", "queries", "query_log", "request")

    #: Logs a finished request.
    request: Callable[[RequestRecord], None]

    def __init__(
        self, config: Logging, loop: asyncio.AbstractEventLoop, directory: str = ".", row: Row | None = None
    ) -> None:
        """Make the logs. `row`: of the process on the scoreboard, where lines that are not written are counted."""
        self._loop = loop
        self._row = row
        self._outputs: dict[tuple[str, str | None], AccessOutput] = {}  # by destination
        self.query_log = QueryLog(loop, row)
        self.configure(config, directory)

    def configure(self, config: Logging, directory: str = ".", compiled: Sequence[CompiledLog] = ()) -> None:
        """Apply the settings. A relative file name is resolved against `directory`.

        `compiled`: one for each access log; without them, logs whose settings are to be compiled are not written.
        """
        logs = access_logs(config)
        old = self._outputs
        self._outputs = {}
        for number, one in enumerate(logs):
            if not compiled and is_compiled(one):
                continue  # the config is still to be compiled
            key = one.to, one.ca
            output = old.pop(key, None) or AccessOutput(self._loop, self._row)
            output.configure(one, compiled[number] if compiled else CompiledLog(), directory)
            self._outputs[key] = output
        for output in old.values():
            if output.is_remote:
                spawn(output.finish(), "sending the last lines of an access log", None)
            else:
                output.close()
        self.enabled = bool(logs)  # callers check it first, so that a disabled log costs nothing
        self.queries = self.enabled and config.dns_queries
        self.query_log.configure(config, directory)
        self.gives_ids = config.request_ids or any(one.gives_ids for one in compiled)
        self.request = self._sole_request() if len(self._outputs) == 1 and not self.gives_ids else self._request

    # ── events ──

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
        for output in self._outputs.values():
            output.session(kind, listener, client, target, received, sent, duration_s, reason)

    def query(self, *, transport: str, client: str, name: str, type: str, rcode: str, blocked_by: str = "") -> None:
        """Log an answered DNS query, if `logging.dns_queries` is on. `blocked_by`: the key that has decided so."""
        if self.queries:
            for output in self._outputs.values():
                output.query(transport, client, name, type, rcode, blocked_by)

    def _sole_request(self) -> Callable[[RequestRecord], None]:
        (output,) = self._outputs.values()
        return output.request

    def _request(self, record: RequestRecord) -> None:
        if self.gives_ids and not record.request_id:
            record.request_id = os.urandom(16).hex()
        for output in self._outputs.values():
            output.request(record)

    # ── writing ──

    def flush(self) -> None:
        """Write the gathered lines."""
        for output in self._outputs.values():
            output.flush()

    def reopen(self) -> None:
        """Open the files again by their names, after log rotation has moved them away."""
        for output in self._outputs.values():
            output.reopen()
        self.query_log.reopen()

    async def finish(self) -> None:
        """Send what waits for receivers, for two seconds at most: the process ends, and no lines follow."""
        if remote := [output for output in (*self._outputs.values(), self.query_log) if output.is_remote]:
            await asyncio.gather(*[output.finish() for output in remote])

    def close(self) -> None:
        """Write the remaining lines and close the files."""
        self.enabled = self.queries = False
        outputs, self._outputs = self._outputs, {}
        self.request = self._request
        for output in outputs.values():
            output.close()
        self.query_log.close()
