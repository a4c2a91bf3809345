"""The handshakes of a worker that wait for a certificate on demand. The controller decides, see `keeper`.

A name that several handshakes wait for is asked about once. A controller that has been restarted, or reloaded, is asked
again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from npserver.networks import client_network
from npserver.runtime.context import Context, PerProcess
from npserver.runtime.pubsub import CONTROLLER
from npserver.tls.acme.on_demand.counts import COUNTS
from npserver.tls.acme.on_demand.entry import Entry
from npserver.tls.acme.on_demand.refusals import Refusals

if TYPE_CHECKING:
    from npserver.tls.certificates import Waiter

log = logging.getLogger("npserver.tls")

#: What a worker tells the controller: `worker`, `key` of the entry, `name`, and `client`, of which network it is.
ASK = "acme:on_demand:ask"
#: What the controller tells a worker: `key`, `name`, `is_there`; `for_s`, how long to remember a refusal, if at all.
DECISION = "acme:on_demand:decision"
#: Published by a controller that has begun to listen.
LISTENING = "acme:on_demand:listening"


class _Name(Struct):
    """A name that is waited for."""

    entry: Entry
    client: str  # the first that asked
    waiters: dict[Waiter, None] = field(default_factory=dict)  # in the order in which they came


class Waits:
    """The waiting handshakes of one process, over reloads."""

    __slots__ = ("_context", "_counts", "_names", "_refusals", "_waiting")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._counts = COUNTS.of(context)
        self._names: dict[tuple[str, str], _Name] = {}  # by the key of the entry and the name
        self._refusals = Refusals()
        self._waiting = 0
        context.pubsub.subscribe(DECISION, self._take)
        context.pubsub.subscribe(LISTENING, self._ask_again)

    def __repr__(self) -> str:
        return f"<Waits {self._waiting} for {len(self._names)} names, {self._refusals!r}>"

    def may_have(self, entry: Entry, name: str) -> bool:
        """Whether a name may have a certificate: the CA could certify it, and it was not refused just before."""
        return entry.is_possible(name) and not self._refusals.left_s(entry.key, name, self._context.loop.time())

    def has_room(self, entry: Entry, name: str) -> bool:
        """Whether one more handshake may wait, that for the certificate of a name."""
        if self._waiting < entry.limits.max_waiting:
            return True
        self._counts.add("overflows")
        self._counts.complain(
            f"{entry.key}.max_waiting", "no certificate for %s: %d handshakes wait already", name, self._waiting
        )
        return False

    def add(self, entry: Entry, name: str, waiter: Waiter, address: str) -> None:
        """Have a handshake wait, that of a client with this address. `decided` may be called before this returns."""
        self._waiting += 1
        self._counts.add("waits")
        self._counts.add("waiting")
        found = self._names.get((entry.key, name))
        if found is not None:
            found.waiters[waiter] = None
            return
        self._names[entry.key, name] = _Name(entry, client_network(address) or address, {waiter: None})
        self._ask(entry.key, name)

    def remove(self, entry: Entry, name: str, waiter: Waiter, *, is_late: bool = False) -> None:
        """Forget a handshake that waits no longer: its client has gone, or it is late."""
        found = self._names.get((entry.key, name))
        if found is None or waiter not in found.waiters:
            return
        del found.waiters[waiter]
        self._end(1)
        if is_late:
            self._counts.add("late")
        if not found.waiters:
            del self._names[entry.key, name]

    def _ask(self, key: str, name: str) -> None:
        client = self._names[key, name].client
        message = {"worker": self._context.worker, "key": key, "name": name, "client": client}
        self._context.pubsub.tell(CONTROLLER, ASK, message)

    def _ask_again(self, _: Any) -> None:
        for key, name in list(self._names):
            self._ask(key, name)

    def _take(self, decision: dict[str, Any]) -> None:
        key, name, is_there = decision["key"], decision["name"], decision["is_there"]
        found = self._names.pop((key, name), None)
        if found is None:
            return  # all clients have gone
        if not is_there and decision["for_s"]:
            until = self._context.loop.time() + decision["for_s"]
            self._refusals.add(key, name, until, found.entry.limits.max_refusals)
        self._end(len(found.waiters))
        for waiter in found.waiters:
            try:
                waiter.decided(is_there=is_there)
            except Exception:  # the others go on
                log.exception("error in the handshake for %s", name)

    def _end(self, number: int) -> None:
        self._waiting -= number
        self._counts.add("waiting", -number)


#: The waiting handshakes of a process.
WAITS = PerProcess(Waits)
