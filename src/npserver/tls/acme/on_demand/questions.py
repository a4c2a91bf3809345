"""The questions of workers about names, in the controller: each name is decided once, for all that ask meanwhile.

What was refused is remembered for a while, so that it is not decided again for each worker.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from npserver.errors import StoreError
from npserver.tls.acme.on_demand.clients import ClientQuestions
from npserver.tls.acme.on_demand.counts import COUNTS
from npserver.tls.acme.on_demand.refusals import Refusals
from npserver.tls.acme.on_demand.waits import DECISION

if TYPE_CHECKING:
    import asyncio

    from npserver.runtime.context import Context
    from npserver.tls.acme.on_demand.entry import Entry

log = logging.getLogger("npserver.tls")

AGAIN_S = 1.0  # how long a refusal is remembered for which nobody was asked


class Questions:
    """The questions of all workers.

    Args:
        entries: by their config keys.
        obtain: gets a certificate for a name; returns 0 if it is there, else how long to remember the refusal.
    """

    __slots__ = ("_clients", "_context", "_counts", "_deciding", "_entries", "_obtain", "_refusals", "closed_to")

    def __init__(
        self, context: Context, entries: Mapping[str, Entry], obtain: Callable[[Entry, str], Awaitable[float]]
    ) -> None:
        self._context = context
        self._counts = COUNTS.of(context)
        self._clients = ClientQuestions(context.loop.time)
        self._entries = entries
        self._obtain = obtain
        self._refusals = Refusals()
        self._deciding: dict[tuple[str, str], set[int]] = {}  # the workers that wait, by the entry's key and the name
        self.closed_to = ""  # a name about which nothing is decided now

    def __repr__(self) -> str:
        return f"<Questions about {len(self._deciding)} names>"

    def concern(self, name: str) -> bool:
        """Whether a name is being decided about."""
        return any(decided == name for _, decided in self._deciding)

    def take(self, group: asyncio.TaskGroup, question: dict[str, Any]) -> None:
        """Answer a worker, if need be by a task of `group`."""
        worker, key, name = question["worker"], question["key"], question["name"]
        entry = self._entries.get(key)
        left_s = self._refusals.left_s(key, name, self._context.loop.time())
        if entry is None or left_s or name == self.closed_to:
            self._answer({worker}, key, name, left_s or AGAIN_S)
        elif (waiting := self._deciding.get((key, name))) is not None:
            waiting.add(worker)
        elif not self._clients.may_ask(question["client"], limit := entry.limits.max_asks_per_client):
            self._counts.complain(
                f"{key}.max_asks_per_client", "no certificate for %s: client %s has asked about %d names in a minute",
                name, question["client"], limit,
            )  # fmt: skip
            self._answer({worker}, key, name, 0.0)  # the client is at fault, not the name
        else:
            self._deciding[key, name] = {worker}
            group.create_task(self._decide(entry, name), name=f"certificate for {name} on demand")

    async def _decide(self, entry: Entry, name: str) -> None:
        """Decide about a name, and tell the workers that wait."""
        refused_s: float = entry.limits.ask_timeout
        try:
            refused_s = await self._obtain(entry, name)
        except StoreError as error:
            log.error("no certificate for %s: %s", name, error)
        except Exception:
            log.exception("error in the certificate for %s", name)
        finally:
            workers = self._deciding.pop((entry.key, name))
        if refused_s:
            until = self._context.loop.time() + refused_s
            self._refusals.add(entry.key, name, until, entry.limits.max_refusals)
        self._answer(workers, entry.key, name, refused_s, is_there=not refused_s)

    def _answer(self, workers: set[int], key: str, name: str, refused_s: float, *, is_there: bool = False) -> None:
        decision = {"key": key, "name": name, "is_there": is_there, "for_s": refused_s}
        for worker in sorted(workers):
            self._context.pubsub.tell(worker, DECISION, decision)
