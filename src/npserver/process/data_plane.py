"""The data plane of one process: its context, the compiled config, its live listeners and its services.

Workers run the listeners, the controller runs the services, and a single process runs both. A reload replaces the
config in all processes in two steps, so that it happens in every process or in none.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from npserver.listen.live_listener import LiveListener
from npserver.net.poller import POLLER
from npserver.observe.access_log import AccessLog
from npserver.process.service_runner import ServiceRunner
from npserver.program.compile import compile_config
from npserver.runtime.context import Context
from npserver.runtime.deadlines import Sweeper
from npserver.runtime.tasks import spawn

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.program.runtime import Runtime
    from npserver.runtime.pubsub import PubSub
    from npserver.runtime.scoreboard import Scoreboard

log = logging.getLogger("npserver.server")

#: Each listener's sockets in this process, by the listener's key.
Sockets = Mapping[str, tuple[socket.socket, ...]]

_LAST_ACCEPTS_S = 0.05  # accepting continues this long after the sockets are closed: first bytes may be under way
_FIRST_REQUEST_S = 0.1  # time for the connections accepted last to send their first request
_POLL_S = 0.02  # how often a drain checks for connections that are still open


def make_context(
    loop: asyncio.AbstractEventLoop, worker: int, board: Scoreboard, pubsub: PubSub, document: Document
) -> Context:
    """Return the context that all fronts and handlers of a process share."""
    access_log = AccessLog(document.config.logging, loop, document.directory)
    row, sweeper = board.row(worker), Sweeper(loop)
    sweeper.watched.add(row)
    return Context(loop, worker, row, sweeper, access_log, pubsub)


class DataPlane:
    """The compiled config and the live listeners and services of one process."""

    __slots__ = ("context", "live", "runtime", "services", "sockets")

    def __init__(self, context: Context, *, runs_services: bool) -> None:
        self.context = context
        self.runtime: Runtime | None = None
        self.live: dict[str, LiveListener] = {}
        self.sockets: dict[str, tuple[socket.socket, ...]] = {}
        self.services = ServiceRunner() if runs_services else None

    def __repr__(self) -> str:
        return f"<DataPlane worker={self.context.worker} {' '.join(map(repr, self.live.values()))}>"

    def compile(self, document: Document) -> Runtime:
        """Compile a config for this process. Raises: ConfigError."""
        return compile_config(document, self.context)

    async def activate(self, runtime: Runtime, sockets: Sockets) -> None:
        """Make `runtime` the active config. `sockets` are the sockets of its listeners that this process serves.

        The sockets of removed listeners are closed, and their connections drained.
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
            spawn(
                self._drain_removed(live, (old or runtime).document.config.timeouts.shutdown),
                f"draining {live!r}",
                None,
            )
        if self.services is not None:
            await self.services.replace(runtime.services)
        if old is not None:
            old.close()

    async def drain(self, timeout_s: float) -> None:
        """Stop accepting, close the listening sockets, and wait up to `timeout_s` for open connections to finish."""
        self.context.draining = True
        _close(self.sockets.values())
        await self._accept_queued(self.live.values())
        if self.services is not None:
            await self.services.replace(())
        await self._drain(None, timeout_s)

    def close(self) -> None:
        """Abort the remaining connections and release everything."""
        for live in self.live.values():
            live.stop()
        for connection in list(self.context.connections):
            _abort(connection)
        if self.runtime is not None:
            self.runtime.close()
        if (poller := POLLER.take(self.context)) is not None:
            poller.close()
        self.context.sweeper.close()
        self.context.row.publish()
        self.context.access_log.close()

    async def _drain_removed(self, live: LiveListener, timeout_s: float) -> None:
        await self._accept_queued([live])
        await self._drain(live, timeout_s)
        for connection in self._connections(live):
            _abort(connection)

    async def _accept_queued(self, listeners: Iterable[LiveListener]) -> None:
        """Accept the connections that are already queued, stop accepting, and give them time to send a request."""
        await asyncio.sleep(_LAST_ACCEPTS_S)
        for live in listeners:
            live.stop()
        await asyncio.sleep(_LAST_ACCEPTS_S / 10)  # until the connections accepted last have their transports
        if self.context.connections:
            await asyncio.sleep(_FIRST_REQUEST_S)

    async def _drain(self, live: LiveListener | None, timeout_s: float) -> None:
        deadline = self.context.loop.time() + timeout_s
        while connections := self._connections(live):
            for connection in connections:
                connection.shut_down()  # repeated: a connection that was busy before may be idle now
            if self.context.loop.time() >= deadline:
                if timeout_s:
                    count = "1 connection" if len(connections) == 1 else f"{len(connections)} connections"
                    log.warning("%s aborted after %g s (timeouts.shutdown)", count, timeout_s)
                return
            await asyncio.sleep(_POLL_S)

    def _connections(self, live: LiveListener | None) -> list[Any]:
        """Return the open connections: all, or those of one listener."""
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
