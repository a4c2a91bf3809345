"""One process's part in serving: its context, the compiled config, its live listeners and its services.

Workers run listeners, the controller runs services, and a single process runs both; a reload swaps the config in all
of them in two steps, so that it happens in every process or in none.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from npserver.listen.listener import LiveListener
from npserver.net.poller import POLLER
from npserver.observe.access_log import AccessLog
from npserver.process.service_runner import Services
from npserver.program.compile import compile_config
from npserver.runtime.context import Context
from npserver.runtime.deadlines import Sweeper
from npserver.runtime.tasks import spawn

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.program.runtime import Runtime
    from npserver.runtime.bulletin import Bulletin
    from npserver.runtime.scoreboard import Scoreboard

log = logging.getLogger("npserver.server")

#: Each listener's sockets in this process, by the listener's key.
Sockets = Mapping[str, tuple[socket.socket, ...]]

_LAST_TURNS_S = 0.05  # between closing a socket's other holders and its acceptor: first bytes may be under way
_FIRST_REQUEST_S = 0.1  # for those taken last, whose request may be under way
_POLL_S = 0.02  # how often draining looks whether the last connection is gone


def make_context(
    loop: asyncio.AbstractEventLoop, worker: int, board: Scoreboard, bulletin: Bulletin, document: Document
) -> Context:
    """Make what all fronts and handlers of a process share."""
    access_log = AccessLog(document.config.logging, loop, document.directory)
    row, sweeper = board.row(worker), Sweeper(loop)
    sweeper.watched.add(row)
    return Context(loop, worker, row, sweeper, access_log, bulletin)


class DataPlane:
    """What one process serves."""

    __slots__ = ("_draining", "context", "live", "runtime", "services", "sockets")

    def __init__(self, context: Context, *, runs_services: bool) -> None:
        self.context = context
        self.runtime: Runtime | None = None
        self.live: dict[str, LiveListener] = {}
        self.sockets: dict[str, tuple[socket.socket, ...]] = {}
        self.services = Services() if runs_services else None
        self._draining: set[LiveListener] = set()  # removed by a reload, with connections left

    def __repr__(self) -> str:
        return f"<DataPlane worker={self.context.worker} {' '.join(map(repr, self.live.values()))}>"

    def compile(self, document: Document) -> Runtime:
        """Compile a config for this process. Raises: ConfigError."""
        return compile_config(document, self.context)

    async def activate(self, runtime: Runtime, sockets: Sockets) -> None:
        """Put `runtime` in place of what runs; `sockets` are those of its listeners that this process serves.

        Sockets of listeners that it no longer has are closed.
        """
        old, self.runtime = self.runtime, runtime
        if old is not None:
            self.context.access_log.configure(runtime.document.config.logging, runtime.document.directory)
        listeners = {listener.key: listener for listener in runtime.listeners if listener.key in sockets}
        removed = [
            self.live.pop(key)
            for key, live in list(self.live.items())
            if key not in listeners or type(live.front) is not type(runtime.fronts[key])
        ]
        _close(self.sockets[key] for key in self.sockets.keys() - listeners.keys())
        self.sockets = dict(sockets)
        for key, listener in listeners.items():
            if key in self.live:
                await self.live[key].replace(listener, runtime.fronts[key])
            else:
                self.live[key] = LiveListener(listener, runtime.fronts[key], self.context)
                await self.live[key].start(sockets[key])
        for live in removed:
            spawn(self._drain_removed(live, (old or runtime).document.config.timeouts.shutdown), f"draining {live!r}")
        if self.services is not None:
            await self.services.replace(runtime.services)
        if old is not None:
            old.close()

    async def drain(self, timeout_s: float) -> None:
        """Take no new clients, close the sockets; wait until those connected are done, at most `timeout_s`."""
        self.context.draining = True
        _close(self.sockets.values())
        await self._take_queued(self.live.values())
        if self.services is not None:
            await self.services.replace(())
        await self._drain(None, timeout_s)

    def close(self) -> None:
        """Release everything: what is still connected is cut off."""
        for live in self.live.values():
            live.stop()
        for connection in list(self.context.connections):
            _abort(connection)
        if self.runtime is not None:
            self.runtime.close()
        if (poller := self.context.carried.pop(POLLER, None)) is not None:
            poller.close()
        self.context.sweeper.close()
        self.context.row.publish()
        self.context.access_log.close()

    async def _drain_removed(self, live: LiveListener, timeout_s: float) -> None:
        await self._take_queued([live])
        await self._drain(live, timeout_s)
        for connection in self._connections(live):
            _abort(connection)

    async def _take_queued(self, listeners: Iterable[LiveListener]) -> None:
        """Stop accepting, but not before those who are connected already are taken; give them time to ask."""
        await asyncio.sleep(_LAST_TURNS_S)
        for live in listeners:
            live.stop()
        await asyncio.sleep(_LAST_TURNS_S / 10)  # those accepted last get their transports
        if self.context.connections:
            await asyncio.sleep(_FIRST_REQUEST_S)

    async def _drain(self, live: LiveListener | None, timeout_s: float) -> None:
        deadline = self.context.loop.time() + timeout_s
        while connections := self._connections(live):
            for connection in connections:
                connection.shut_down()  # again and again: what was busy before may be idle now
            if self.context.loop.time() >= deadline:
                if timeout_s:
                    what = "1 connection" if len(connections) == 1 else f"{len(connections)} connections"
                    log.warning("%s cut off after timeouts.shutdown (%g s)", what, timeout_s)
                return
            await asyncio.sleep(_POLL_S)

    def _connections(self, live: LiveListener | None) -> list[Any]:
        """Open connections: all, or those that came over one listener."""
        connections = self.context.connections
        return [one for one in connections if live is None or getattr(one, "listener", None) is live]


def _close(groups: Iterable[tuple[socket.socket, ...]]) -> None:
    for group in groups:
        for one in group:
            one.close()


def _abort(connection: Any) -> None:
    transport = getattr(connection, "transport", None)
    if transport is not None:
        transport.abort()
