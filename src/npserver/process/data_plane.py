"""The data plane of one process: its context, the compiled config, its live listeners and its services.

Workers run the listeners, the controller runs the services, and a single process runs both. A reload replaces the
config in all processes in two steps, so that it happens in every process or in none.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import Collection, Iterable, Mapping, Set
from typing import TYPE_CHECKING, Any

from npserver.listen.last_connections import TRANSPORTS_S, accept_queued
from npserver.listen.live_listener import LiveListener
from npserver.net.poller import POLLER
from npserver.observe.access_log import AccessLog
from npserver.observe.last_errors import keep
from npserver.process.control.draining import DrainFollower
from npserver.process.control.listener_draining import ListenerDrainFollower
from npserver.process.service_runner import ServiceRunner
from npserver.program.compile import compile_config
from npserver.runtime.compilation import REPLACED, RUNS_SERVICES
from npserver.runtime.context import AT_END, Context
from npserver.runtime.deadlines import Sweeper
from npserver.runtime.tasks import spawn

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.program.runtime import Runtime
    from npserver.runtime.pubsub import PubSub
    from npserver.runtime.scoreboard import Scoreboard

log = logging.getLogger("npserver.server")

Sockets = tuple[socket.socket, ...]  # of one listener in this process

_FIRST_REQUEST_S = 1.0  # time for clients that have connected to send their first request
_IDLE_S = 5.0  # at an upgrade: time for clients on idle connections to send a request that ends the connection
_TURNS_OF_ENDS = 20  # of the loop: one for each callback by which the end of a client becomes that of its tunnel
_UNDER_WAY_S = 0.01  # for the kernel to queue a datagram whose socket it has chosen
_COLLECT_AFTER_S = 1.0  # after a reload: few requests hold the config before by then
_POLL_S = 0.02  # how often a drain checks for connections that are still open


def make_context(
    loop: asyncio.AbstractEventLoop, worker: int, board: Scoreboard, pubsub: PubSub, document: Document
) -> Context:
    """Return the context that all fronts and handlers of a process share."""
    row, sweeper = board.row(worker), Sweeper(loop)
    access_log = AccessLog(document.config.logging, loop, document.directory, row)
    keep(board.last_errors, row.number)
    sweeper.watched.add(row)
    return Context(loop, worker, row, sweeper, access_log, pubsub)


class DataPlane:
    """The compiled config and the live listeners and services of one process."""

    __slots__ = (
        "_collection",
        "_has_left",
        "context",
        "drains",
        "listener_drains",
        "live",
        "runtime",
        "services",
        "sockets",
    )

    def __init__(self, context: Context, *, runs_services: bool) -> None:
        self.context = context
        RUNS_SERVICES.put(context, value=runs_services)
        self.drains = DrainFollower(context)
        self.runtime: Runtime | None = None
        self.live: dict[str, LiveListener] = {}
        self.listener_drains = ListenerDrainFollower(context, self.live)
        self.sockets: dict[str, Sockets] = {}
        self._collection: asyncio.TimerHandle | None = None  # of garbage, after a reload
        self._has_left = False  # whether another program serves the listeners
        self.services = ServiceRunner() if runs_services else None

    def __repr__(self) -> str:
        return f"<DataPlane worker={self.context.worker} {' '.join(map(repr, self.live.values()))}>"

    def compile(self, document: Document) -> Runtime:
        """Compile a config for this process. Raises: ConfigError."""
        return compile_config(document, self.context)

    async def activate(self, runtime: Runtime, sockets: Mapping[str, Sockets]) -> None:
        """Make `runtime` the active config. `sockets` are the sockets of its listeners that this process serves, by
        the listener's key.

        The sockets of removed listeners are closed, and their connections drained.
        """
        old, self.runtime = self.runtime, runtime
        document, logs = runtime.document, runtime.logs
        if old is not None or logs:
            self.context.access_log.configure(document.config.logging, document.directory, logs)
        listeners = {listener.key: listener for listener in runtime.listeners if listener.key in sockets}
        removed = [
            self.live.pop(key)
            for key, live in list(self.live.items())
            if key not in listeners or not _is_same_kind(live.front, runtime.fronts[key])
        ]
        _close(self.sockets[key] for key in self.sockets.keys() - listeners.keys())
        self.sockets = dict(sockets)
        for live in removed:
            if live.listener.key in listeners:  # its sockets stay: what waits there is for its successor
                live.stop()
        fault: Exception | None = None
        for key, listener in listeners.items():
            try:
                if key in self.live:
                    await self.live[key].replace(listener, runtime.fronts[key])
                else:
                    self.live[key] = LiveListener(listener, runtime.fronts[key], self.context)
                    self.listener_drains.starting(self.live[key])
                    await self.live[key].start(sockets[key])
            except Exception as error:  # the others are not affected
                fault = error
        self.listener_drains.follow()
        for activate in runtime.activations:
            activate()
        timeout_s = (old or runtime).document.config.timeouts.shutdown
        for live in removed:
            spawn(self._drain_removed(live, timeout_s), f"draining {live!r}", None)
        if self.services is not None:
            await self.services.replace(runtime.services)
        if old is not None:
            old.close()
            for replaced in REPLACED.take(self.context) or ():
                replaced()
            self._collect_later()
        if fault is not None:
            raise fault

    def _collect_later(self) -> None:
        """Free the config before, which is full of cycles: by its thresholds the collector would let many gather."""
        if self._collection is None:
            self._collection = self.context.loop.call_later(_COLLECT_AFTER_S, self._collect)

    def _collect(self) -> None:
        self._collection = None
        gc.collect()

    async def leave(self, keys: Set[str]) -> None:
        """Serve only the present clients of these listeners: another program has their sockets and serves the others.

        Services end at once, as those of the other program begin.
        """
        if self.services is not None:
            await self.services.replace(())
        self._has_left = True
        left = [self.live[key] for key in keys & self.live.keys()]
        for one in left:
            one.leave()
        await asyncio.sleep(_UNDER_WAY_S)
        for one in left:
            one.read_waiting()

    async def drain(self, timeout_s: float) -> None:
        """Stop accepting, close the listening sockets, and wait up to `timeout_s` for open connections to finish."""
        self.context.draining = True
        deadline = self.context.ends_at = self.context.loop.time() + timeout_s
        _close(self.sockets.values())
        await self._accept_last(self.live.values(), timeout_s)
        if self.services is not None:
            await self.services.replace(())
        await self._drain(None, timeout_s, deadline)
        await self._abort_rest()
        for end in AT_END.take(self.context) or ():
            await end()
        await self.context.access_log.finish()

    def close(self) -> None:
        """Abort the remaining connections and release everything."""
        if self._collection is not None:
            self._collection.cancel()
        self.listener_drains.close()
        for live in self.live.values():
            live.stop()
            live.close_kept()
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
        deadline = self.context.loop.time() + timeout_s
        await self._accept_last([live], timeout_s)
        await self._drain(live, timeout_s, deadline)
        for connection in self._connections(live):
            _abort(connection)

    async def _accept_last(self, listeners: Collection[LiveListener], timeout_s: float) -> None:
        """Accept the connections that have begun or are queued, then stop accepting: at once if none may finish."""
        if timeout_s:
            await accept_queued(listeners)
        for live in listeners:
            live.stop()
        await asyncio.sleep(TRANSPORTS_S)

    async def _drain(self, live: LiveListener | None, timeout_s: float, deadline: float) -> None:
        """Give clients without a request yet a moment to send it, then close each connection when it is idle."""
        loop = self.context.loop
        patience_s = _IDLE_S if self._has_left else _FIRST_REQUEST_S
        patience = min(loop.time() + patience_s, deadline)
        while (connections := self._connections(live)) or (live is None and self._has_datagram_clients):
            is_patient = self._has_left or any(one.awaits_request for one in connections)
            if loop.time() >= patience or not is_patient:
                patience = 0.0
                for connection in connections:
                    connection.shut_down()  # repeated: a connection that was busy before may be idle now
            if loop.time() >= deadline:
                if timeout_s and connections:
                    count = "1 connection" if len(connections) == 1 else f"{len(connections)} connections"
                    log.warning("%s aborted after %g s (timeouts.shutdown)", count, timeout_s)
                return
            await asyncio.sleep(_POLL_S)

    async def _abort_rest(self) -> None:
        """Abort the connections that are left, and give each request and tunnel the time to be counted and logged."""
        connections = list(self.context.connections)
        for connection in connections:
            _abort(connection)
        for _ in range(_TURNS_OF_ENDS if connections else 0):
            await asyncio.sleep(0)

    @property
    def _has_datagram_clients(self) -> bool:
        """Whether clients of datagram listeners that this process has left are still served."""
        return any(live.has_kept for live in self.live.values())

    def _connections(self, live: LiveListener | None) -> list[Any]:
        """Return the open connections: all, or those of one listener."""
        connections = self.context.connections
        return [one for one in connections if live is None or getattr(one, "listener", None) is live]


def _is_same_kind(one: object, other: object) -> bool:
    """Whether connections of one front can go on with another: rules with conditions need a special HTTP front."""
    return isinstance(one, type(other)) or isinstance(other, type(one))


def _close(groups: Iterable[Sockets]) -> None:
    for group in groups:
        for one in group:
            one.close()


def _abort(connection: Any) -> None:
    transport = getattr(connection, "transport", None)
    if transport is not None:
        transport.abort()
