"""How a worker follows the drains of listeners: it takes no new clients on them, and lets the present ones end.

`process.control.listener_drains` decides on drains and publishes them, once no further client can connect. A worker
accepts those that have connected, and says on the scoreboard which drains it has heard of and how many connections and
sessions are left. HTTP connections have a while to send one more request, whose answer tells them that it was the last;
those that are idle after it are closed. At the deadline what is left is ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, Any

from npserver.listen.drains import LISTENER_DRAINS, counter_of, drained_listeners
from npserver.listen.last_connections import TRANSPORTS_S, accept_queued
from npserver.process.control.draining import REASON
from npserver.runtime.tasks import spawn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from npserver.listen.live_listener import LiveListener
    from npserver.runtime.context import Context

log = logging.getLogger("npserver.server")

SEEN = "drains.seen_listeners"  # the slot of the number of the drains last heard of
LAST_REQUEST_S = 5.0  # time for clients on idle connections to send a request whose answer ends the connection


class ListenerDrainFollower:
    """The drains of listeners in one process."""

    __slots__ = (
        "_applying", "_changing", "_context", "_counted", "_is_following", "_live", "_seen_slot", "deadline",
    )  # fmt: skip

    def __init__(self, context: Context, live: Mapping[str, LiveListener]) -> None:
        """Create it. `live`: the listeners of the process by key, as they are at any time."""
        self._context = context
        self._live = live
        self._seen_slot = context.row.slot(SEEN)
        self._counted: set[str] = set()  # counters that are not 0
        self._changing = asyncio.Lock()
        self._applying: set[asyncio.Task[Any]] = set()
        self.deadline = 0.0  # always passed: `expire` is called at each sweep
        self._is_following = False

    def __repr__(self) -> str:
        return f"<ListenerDrainFollower {' '.join(self._drained)}>"

    @property
    def _drained(self) -> dict[str, Any]:
        return drained_listeners(self._context.pubsub.latest)

    def starting(self, live: LiveListener) -> None:
        """A listener is about to be started, in the place of another perhaps: it may be drained already."""
        if live.listener.key in self._drained:
            live.drain()

    def follow(self) -> None:
        """Called when all listeners of a config are started: drain those that are drained, now and in future."""
        if not self._is_following:
            self._is_following = True
            self._context.pubsub.subscribe(LISTENER_DRAINS, self._changed)
        elif self._drained:
            self._changed(self._context.pubsub.latest[LISTENER_DRAINS])

    def close(self) -> None:
        """Called at the end of the process."""
        for task in self._applying:
            task.cancel()

    def _changed(self, value: dict[str, Any]) -> None:
        task = spawn(self._apply(value), "draining listeners", None)
        self._applying.add(task)
        task.add_done_callback(self._applying.discard)

    async def _apply(self, value: dict[str, Any]) -> None:
        """Drain the listeners that are drained now, and take clients again on those that are not any more."""
        async with self._changing:
            drained = value["listeners"]
            begun = [live for key, live in self._live.items() if key in drained and not live.is_draining]
            for live in begun:
                live.drain()
            for key, live in list(self._live.items()):
                if live.is_draining and key not in drained:
                    await live.undrain()
            await self._stop_accepting([live for live in self._live.values() if live.is_draining])
            self._look()
            self._context.row.slots[self._seen_slot] = value["number"]
            self._context.sweeper.watched.add(self)

    async def _stop_accepting(self, drained: list[LiveListener]) -> None:
        streams = [live for live in drained if live.listener.address.is_stream and live.is_accepting]
        if not streams:
            return
        await accept_queued(streams)
        for live in streams:
            if live.listener.key not in self._drained:  # not any more: its owner has let clients connect again
                continue
            try:
                live.refuse_clients()
            except OSError as error:
                log.warning("listener %s refuses no clients: %s", live.listener.name, error.strerror)
        await asyncio.sleep(TRANSPORTS_S)

    def expire(self, _now: float) -> None:
        """Called by the deadline sweeper, until drained listeners have nothing left, and what they accepted last has
        had time to come: there is nothing more then."""
        self._look()
        settled_at = max([drain["since"] for drain in self._drained.values()], default=0.0) + LAST_REQUEST_S
        if not self._counted and monotonic() >= settled_at:
            self._context.sweeper.watched.discard(self)

    def _look(self) -> None:
        """Close what is idle, end what is left at the deadline, and count the rest."""
        left, ended = Counter[str](), Counter[str]()
        for key, connection in list(self._connections()):
            if self._is_due(key):
                _end(connection)
                ended[key] += 1
            elif self._had_time(key):
                connection.shut_down()  # repeated: a connection that was busy before may be idle now
            left[key] += connection in self._context.connections
        for key, session in list(self._sessions()):
            if self._is_due(key):
                session.end(REASON)
                ended[key] += 1
            left[key] += not session.is_over
        for key, count in ended.items():
            name = self._live[key].listener.name if key in self._live else key
            log.warning("drain of listener %s: %d connections ended (-wait has passed)", name, count)
        self._count(left)

    def _is_due(self, key: str) -> bool:
        """Whether what a listener still has is to be ended."""
        deadline = self._drained[key]["deadline"]
        return bool(deadline) and monotonic() >= deadline

    def _had_time(self, key: str) -> bool:
        """Whether clients have had their time to send a last request."""
        drain: dict[str, float] = self._drained[key]
        since, deadline = drain["since"], drain["deadline"]
        patience_s = min(LAST_REQUEST_S, (deadline - since) / 2) if deadline else LAST_REQUEST_S
        return monotonic() >= since + patience_s

    def _connections(self) -> Iterator[tuple[str, Any]]:
        """Yield the connections of drained listeners, with the key of each listener."""
        for connection in self._context.connections:
            live = getattr(connection, "listener", None)
            if live is not None and live.is_draining and live.listener.key in self._drained:
                yield live.listener.key, connection

    def _sessions(self) -> Iterator[tuple[str, Any]]:
        """Yield those of datagrams."""
        from npserver.forward.datagrams import SESSION_TABLES

        for key, table in SESSION_TABLES.of(self._context).items():
            if key in self._drained:
                for session in table.sessions.values():
                    yield key, session

    def _count(self, left: Counter[str]) -> None:
        counts = Counter[str]()
        for key, count in left.items():
            live = self._live.get(key)
            counts[counter_of(live.listener) if live is not None else key] += count
        names, slots = self._context.row.board.directory.names, self._context.row.slots
        for name in self._counted | counts.keys():
            if name in names:
                slots[names[name]] = counts[name]
        self._counted = set(+counts)


def _end(connection: Any) -> None:
    """End a connection with what it carries: the log says why, where it is forwarded or a tunnel."""
    transport = connection.transport
    relay = getattr(getattr(transport, "get_protocol", lambda: None)(), "relay", None)
    if relay is not None:
        relay.abort(REASON)
    elif hasattr(connection, "forward"):
        connection.abort(REASON)
    elif transport is not None:
        transport.abort()
