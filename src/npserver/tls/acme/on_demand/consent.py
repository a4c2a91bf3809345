"""Asks the applications from the controller: a few questions at a time, a limited number in a minute, each counted.

The log tells once when an application begins to fail, and once when it answers again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING

from npserver.runtime.context import PerProcess
from npserver.tls.acme.on_demand.counts import COUNTS
from npserver.tls.acme.on_demand.permission import Answer, ask
from npserver.tls.acme.schedule import OrderBudget

if TYPE_CHECKING:
    from npserver.runtime.context import Context
    from npserver.tls.acme.on_demand.entry import Entry

log = logging.getLogger("npserver.tls")

ASKS_AT_ONCE = 10


class Consent:
    """The questions of one controller, over reloads."""

    __slots__ = ("_asking", "_budgets", "_counts", "_has_failed", "_loop")

    def __init__(self, context: Context) -> None:
        self._loop = context.loop
        self._counts = COUNTS.of(context)
        self._asking = asyncio.Semaphore(ASKS_AT_ONCE)
        self._budgets: dict[tuple[str, int, float], OrderBudget] = {}
        self._has_failed: set[str] = set()  # the keys of entries whose application did not answer last

    def __repr__(self) -> str:
        return f"<Consent failing={sorted(self._has_failed)}>"

    def may_spend(self, key: str, limit: int, period_s: float) -> bool:
        """Count something of which `limit` are allowed in any `period_s`, by the config key; False if it is not."""
        budget = self._budgets.setdefault((key, limit, period_s), OrderBudget(limit, period_s))
        now = self._loop.time()
        if budget.wait_s(now):
            return False
        budget.spend(now)
        return True

    async def ask(self, entry: Entry, name: str) -> Answer:
        """Ask the application of an entry about a name."""
        key, url = f"{entry.key}.ask", entry.application.url
        answer, reason = await self._ask_in_turn(entry, name)
        self._counts.add(f"asks.{answer.value}")
        if answer is Answer.FAILED:
            level = logging.DEBUG if key in self._has_failed else logging.WARNING
            self._has_failed.add(key)
            log.log(level, "no certificate for %s: %s gives no answer: %s (%s)", name, url, reason, key)
            return answer
        if key in self._has_failed:
            self._has_failed.discard(key)
            log.info("%s answers again (%s)", url, key)
        verb = "agrees to" if answer is Answer.YES else "refuses"
        log.debug("%s %s a certificate for %s: %s (%s)", url, verb, name, reason, key)
        return answer

    async def _ask_in_turn(self, entry: Entry, name: str) -> tuple[Answer, str]:
        try:
            async with asyncio.timeout(entry.limits.wait):  # after which no handshake waits any more
                await self._asking.acquire()
        except TimeoutError:
            return Answer.FAILED, f"{ASKS_AT_ONCE} other questions take too long"
        try:
            return await ask(entry.application, name, entry.limits.ask_timeout)
        finally:
            self._asking.release()

    async def warn_of_yes_to_all(self, entry: Entry) -> None:
        """Warn of an application that agrees to a name that cannot exist (RFC 6761 §6.4): it does not look at names."""
        name = f"{secrets.token_hex(8)}.invalid"
        answer, _ = await ask(entry.application, name, entry.limits.ask_timeout)
        if answer is Answer.YES:
            log.warning(
                "%s agrees to %s, a name that cannot exist: if it agrees to all names, anyone can have certificates "
                "ordered, up to the limits of the CA (%s.ask)", entry.application.url, name, entry.key,
            )  # fmt: skip


#: The questions of a process.
CONSENT = PerProcess(Consent)
