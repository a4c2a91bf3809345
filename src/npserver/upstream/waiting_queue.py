"""The queue of an upstream: requests and connections wait while all targets are full or down (`wait`, `queue`).

Each worker has a queue of its own, in order of arrival; it survives a reload. The scoreboard tells the workers how many
wait, and since when: a new arrival does not overtake those that wait, in whatever worker. A slot that becomes free in a
worker goes to the first of its own queue, or to the worker whose first has waited clearly longer, which is told so. The
sweeper looks four times a second too: at targets that are up again, at slots of a worker that has died, at times that
have passed. So no wake-up is lost.
"""

from __future__ import annotations

import random
from bisect import insort
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from npserver.runtime.context import PerProcess

if TYPE_CHECKING:
    from npserver.runtime.context import Context

#: How much longer the first of another worker's queue must have waited to come before our own: handing a slot over
#: takes longer than using it.
HAND_OVER_S = 0.05
SHUTDOWN_MARGIN_S = 1.0  # those that still wait are answered this long before `timeouts.shutdown` ends
RECHECK_S = 0.004  # up to this long after two workers have taken the same slot, and both have left it

_tickets = count(1)


class Waiter(Protocol):
    """A request or connection that waits for a target."""

    ticket: int  # its place in the order of arrival; 0 until it has one
    arrived: float  # loop time; set by the queue
    wait_s: float  # `wait`
    failure: str  # why its last attempt failed; "" without one

    def choose(self) -> Any:
        """Return a target that may be used now, of the latest config; None if there is none."""

    def serve(self, target: Any) -> None:
        """Use the target; called with a claim on it, which the queue gives up after the call."""

    def give_up(self, reason: str, key: str) -> None:
        """End without a target. `key`: the config key that decided."""


class WaitingQueue:
    """The queue of one upstream in one process; `deadline` and `expire` are for the sweeper."""

    __slots__ = (
        "_board", "_context", "_count_slot", "_is_woken", "_name", "_since_slot", "_slots", "_timeouts_slot",
        "_topic", "_waits_slot", "_worker", "current", "deadline", "refused_slot", "waiters",
    )  # fmt: skip

    def __init__(self, context: Context, name: str) -> None:
        row = context.row
        self._context = context
        self._name = name
        self._board = row.board
        self._slots = row.slots
        self._worker = row.number
        self._count_slot = row.slot(f"gauge.upstream.{name}.waiting")
        self._since_slot = row.slot(f"gauge.upstream.{name}.waiting_since")  # ms of the first one's arrival; 0: none
        self._waits_slot = row.slot(f"upstream.{name}.waits")
        self._timeouts_slot = row.slot(f"upstream.{name}.wait_timeouts")
        self.refused_slot = row.slot(f"upstream.{name}.queue_overflows")
        self._topic = f"upstream.queue.{name}"
        context.pubsub.subscribe(self._topic, lambda _: self._dispatch(is_told=True))
        self._is_woken = False
        self.waiters: list[Waiter] = []  # by ticket
        self.current: Any = None  # the upstream of the active config
        self.deadline = 0.0  # always passed: `expire` is called at each sweep while somebody waits

    def __repr__(self) -> str:
        return f"<WaitingQueue {self._topic} {len(self.waiters)}>"

    def activate(self, upstream: Any) -> None:
        """Called when a config has become active: those that wait go to the targets of its upstream."""
        self.current = upstream
        self.wake()

    def enter(self, waiter: Waiter, limit: int) -> None:
        """Serve a waiter at once, or let it wait if fewer than `limit` do; one that returns keeps its place."""
        now = self._context.loop.time()
        is_new = not waiter.ticket
        if is_new:
            waiter.ticket = next(_tickets)
            waiter.arrived = now
        elif _leaves_at(waiter) <= now:
            self._time_out(waiter)
            return
        waiting = self._board.total(self._count_slot)
        if not waiting and self._try(waiter):
            return
        if is_new and waiting >= limit:
            self._slots[self.refused_slot] += 1
            waiter.give_up(
                f"the queue of upstream {self._name} is full: {waiting} wait", f"upstreams.{self._name}.queue"
            )
            return
        if is_new:
            self._slots[self._waits_slot] += 1
        insort(self.waiters, waiter, key=_ticket)
        self._context.sweeper.watched.add(self)
        self._changed()
        if self.waiters[0] is waiter:  # a slot may have become free meanwhile
            self.wake()

    def leave(self, waiter: Waiter) -> None:
        """Remove a waiter whose client has gone away; nothing if it does not wait."""
        if waiter in self.waiters:
            self.waiters.remove(waiter)
            self._changed()
            self.wake()

    def left_s(self, waiter: Waiter) -> float:
        """Return the time that is left of `wait` for connecting, in seconds, above 0."""
        return max(_leaves_at(waiter) - self._context.loop.time(), 0.001)

    def wake(self) -> None:
        """Look soon, but not within the caller's work, whether somebody that waits can be served."""
        if not self._is_woken and (self.waiters or self._board.total(self._count_slot)):
            self._is_woken = True
            self._context.loop.call_soon(self._dispatch)

    def expire(self, now: float) -> None:
        """Called by the sweeper: end those whose time has passed, and serve those that can be."""
        if now >= self._context.ends_at - SHUTDOWN_MARGIN_S:
            for waiter in self._take(self.waiters):
                reason = f"the server shuts down, and no target of upstream {self._name} was free"
                waiter.give_up(reason, "timeouts.shutdown")
            return
        for waiter in self._take([one for one in self.waiters if _leaves_at(one) <= now]):
            self._time_out(waiter)
        self._dispatch(is_told=True)

    def _time_out(self, waiter: Waiter) -> None:
        """End one whose `wait` has passed."""
        self._slots[self._timeouts_slot] += 1
        last = f"; last error: {waiter.failure}" if waiter.failure else ""
        reason = f"no target of upstream {self._name} was free within {waiter.wait_s:g} s{last}"
        waiter.give_up(reason, f"upstreams.{self._name}.wait")

    def _dispatch(self, *, is_told: bool = False) -> None:
        """Serve those that wait, the first one first. `is_told`: even if others have waited longer elsewhere."""
        if not is_told:
            self._is_woken = False
        while self.waiters:
            if not is_told and self._hand_over(self._slots[self._since_slot] - int(HAND_OVER_S * 1000)):
                return
            waiter = self.waiters[0]
            if not self._try(waiter, is_first=True):
                return
        self._hand_over()

    def _try(self, waiter: Waiter, *, is_first: bool = False) -> bool:
        """Serve one if there is a target for it. `is_first`: it stands first in the queue, and leaves it then."""
        target = waiter.choose()
        if target is None:
            return False
        if not target.claim():
            self._context.loop.call_later(random.uniform(0, RECHECK_S), self.wake)
            return False
        if is_first:
            del self.waiters[0]
            self._changed()
        try:
            waiter.serve(target)
        finally:
            target.disclaim()
        return True

    def _hand_over(self, before_ms: int | None = None) -> bool:
        """Tell the worker whose first has waited the longest, if that arrived before a time; return whether one is."""
        slot = self._since_slot
        others = [
            (row[slot], number)
            for number, row in enumerate(self._board.rows)
            if row[slot] and number != self._worker and (before_ms is None or row[slot] < before_ms)
        ]
        if others:
            self._context.pubsub.tell(min(others)[1] - 1, self._topic, None)
        return bool(others)

    def _take(self, waiters: list[Waiter]) -> list[Waiter]:
        """Remove waiters, and return them."""
        taken = list(waiters)
        if taken:
            gone = {one.ticket for one in taken}
            self.waiters = [one for one in self.waiters if one.ticket not in gone]
            self._changed()
        return taken

    def _changed(self) -> None:
        """Publish how many wait, and since when."""
        waiters, slots = self.waiters, self._slots
        slots[self._count_slot] = len(waiters)
        slots[self._since_slot] = int(waiters[0].arrived * 1000) if waiters else 0
        if not waiters:
            self._context.sweeper.watched.discard(self)


#: The queues of a process by upstream, also of those that a reload has removed.
QUEUES: PerProcess[dict[str, WaitingQueue]] = PerProcess(lambda context: {})


def queue_of(context: Context, name: str) -> WaitingQueue:
    """Return the queue of an upstream in this process."""
    queues = QUEUES.of(context)
    found = queues.get(name)
    if found is None:
        found = queues[name] = WaitingQueue(context, name)
    return found


def _leaves_at(waiter: Waiter) -> float:
    """Return the loop time at which `wait` has passed."""
    return waiter.arrived + waiter.wait_s


def _ticket(waiter: Waiter) -> int:
    return waiter.ticket
