"""How a process follows the drains: its upstreams leave drained targets alone; at the deadline it ends what is left.

`process.control.drains` decides on drains and publishes them. Each process says on the scoreboard which it has heard
of, so that a target counts as empty only when no worker can send it anything more.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

from npserver.observe import logs
from npserver.upstream.connection_state import IDLE
from npserver.upstream.registry import DRAINS, REGISTERED, key_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from npserver.runtime.context import Context

log = logging.getLogger("npserver.upstream")

LEVEL = "logs:level"  # the topic of the level that `npserver log` has set last; None: a reload has reset it
SEEN = "drains.seen"  # the slot of the number of the drains last heard of
REASON = "drained"  # of the ends of sessions, in the access log


class DrainFollower:
    """The drains in one process."""

    __slots__ = ("_context", "_seen_slot", "_timers")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._seen_slot = context.row.slot(SEEN)
        self._timers: dict[str, tuple[float, asyncio.TimerHandle]] = {}  # by target, with the deadline
        context.pubsub.subscribe(DRAINS, self._changed)
        context.pubsub.subscribe(LEVEL, _set_level)

    def __repr__(self) -> str:
        return f"<DrainFollower timers={len(self._timers)}>"

    def _changed(self, value: dict[str, Any]) -> None:
        for upstream in list(REGISTERED.of(self._context)):
            upstream.apply_drains(value)
        self._context.row.slots[self._seen_slot] = value["number"]
        for key, (deadline, timer) in list(self._timers.items()):
            if value["targets"].get(key, {}).get("deadline") != deadline:
                timer.cancel()
                del self._timers[key]
        now = monotonic()
        for key, drain in value["targets"].items():
            if drain["deadline"] and key not in self._timers:
                delay_s = max(drain["deadline"] - now, 0.0)
                timer = self._context.loop.call_later(delay_s, self._end_rest, key)
                self._timers[key] = drain["deadline"], timer

    def _end_rest(self, key: str) -> None:
        """End what still uses a target."""
        count = 0
        for one in list(_users(self._context, key)):
            one()
            count += 1
        if count:
            log.warning("drain of target %s: %d connections ended (-wait has passed)", key.rpartition(" ")[2], count)


def _set_level(value: dict[str, str] | None) -> None:
    if value is not None:
        logs.set_level(value["area"], value["level"])


def _users(context: Context, key: str) -> Iterator[Any]:
    """Yield functions that end the requests, tunnels, connections and sessions of a target."""
    from npserver.forward.datagrams import SESSION_TABLES

    def is_it(target: Any) -> bool:
        return target is not None and key_of(target.upstream, target.uri) == key

    for connection in list(context.connections):  # of forwards
        session = getattr(connection, "session", None)
        if session is not None and is_it(getattr(session, "target", None)):
            yield lambda connection=connection: connection.abort(REASON)
    for table in SESSION_TABLES.of(context).values():
        for datagrams in list(table.sessions.values()):
            if is_it(datagrams.session.target):
                yield lambda datagrams=datagrams: datagrams.end(REASON)
    for one in list(context.sweeper.watched):
        if is_it(getattr(one, "tunnel_target", None)):
            yield lambda one=one: one.abort(REASON)
        elif is_it(_target_of(one)) and getattr(one, "state", None) is not IDLE:
            yield one.transport.abort  # type: ignore[attr-defined]


def _target_of(one: Any) -> Any:
    """Return the target of a connection to one; None for other objects with a deadline."""
    target = getattr(one, "target", None)
    return target if hasattr(target, "uri") and hasattr(one, "transport") else None
