"""Decides on bans, in the controller: makes, lengthens and lifts them, keeps them in the store, tells all processes."""

from __future__ import annotations

import asyncio
import logging
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from npserver.errors import StoreError
from npserver.network_sets.bans import NOTICED, Ban, LearntSet
from npserver.network_sets.commands import COMMANDS
from npserver.network_sets.events import EVENTS
from npserver.network_sets.states import BAN_TOPICS, forget_bans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.runtime.context import Context
    from npserver.store.interface import Store

log = logging.getLogger("npserver.server")

LOOK_S = 1.0  # between two looks at whose time is over
GATHER_S = 0.2  # the first ban is published at once, those that come within this time after it together
MAX_S = 30 * 86400.0  # the longest ban by `doubling`
OVER = "its time is over"
BY_HAND = "command"  # the reason of bans by `npserver ban`
MAX_PAST = 10_000  # clients whose former bans are remembered, for `doubling`


class BanService:
    """The service."""

    def __init__(self, context: Context, store: Store | None, sets: Sequence[LearntSet]) -> None:
        self._context = context
        self._store = store
        self._sets = {one.name: one for one in sets}
        self._bans: dict[str, dict[str, Ban]] = {}  # those in force, by network and client; the oldest first
        self._changed: set[str] = set()
        self._wakeup = asyncio.Event()
        row = context.row
        self._slots = row.slots
        self._banned_slots = {event: row.slot(f"networks.bans.{event}") for event in (*EVENTS, BY_HAND)}
        self._lifted_slot = row.slot("networks.lifted_bans")

    def __repr__(self) -> str:
        return f"<BanService {', '.join(self._sets)}>"

    async def run(self) -> None:
        """Run until cancelled."""
        pubsub = self._context.pubsub
        forget_bans(pubsub, frozenset(self._sets))
        for name, one in self._sets.items():
            self._bans[name] = dict(one.banned.by_client)
            self._lift_excepted(one)
            self._make_room(one)
            self._changed.add(name)
        ends = [pubsub.subscribe(NOTICED, self._noticed), pubsub.subscribe(COMMANDS, self._commanded)]
        loop, gathered_at = self._context.loop, 0.0
        try:
            while True:
                self._lift_ended()
                if self._changed:
                    gathered_at = loop.time() + GATHER_S
                for name in sorted(self._changed):
                    pubsub.publish(BAN_TOPICS + name, [msgspec.to_builtins(one) for one in self._bans[name].values()])
                changed, self._changed = self._changed, set()
                for name in sorted(changed):
                    await self._keep(name)
                self._wakeup.clear()
                if not self._changed:
                    try:
                        async with asyncio.timeout(LOOK_S):
                            await self._wakeup.wait()
                    except TimeoutError:
                        continue
                await asyncio.sleep(max(0.0, gathered_at - loop.time()))
        finally:
            for end in ends:
                end()

    # ── what workers and people say ──

    def _noticed(self, message: Any) -> None:
        one = self._sets.get(message["name"])
        if one is not None and not one.banned.is_excepted(message["ip"]):
            self._ban(one, one.banned.client_of(message["ip"]), message["event"])

    def _commanded(self, message: Any) -> None:
        for name in message["names"]:
            one = self._sets.get(name)
            if one is None:
                continue
            if message["bans"]:
                if not one.banned.is_excepted(message["client"].partition("/")[0]):
                    self._ban(one, message["client"], BY_HAND)
            elif (ban := self._bans[name].pop(message["client"], None)) is not None:
                one.times.pop(ban.client, None)
                self._lifted(name, ban, "by npserver unban")

    # ── bans ──

    def _ban(self, one: LearntSet, client: str, event: str) -> None:
        bans, now = self._bans[one.name], self._context.wall_clock()
        if not client or (client in bans and now < bans[client].until):
            return
        if (ended := bans.pop(client, None)) is not None:
            self._lifted(one.name, ended, OVER)
        times = one.times.pop(client, 0) + 1
        one.times[client] = times
        if len(one.times) > MAX_PAST:
            del one.times[next(iter(one.times))]
        for_s = one.for_s
        if one.doubling:
            for_s = max(for_s, min(for_s * 2.0 ** min(times - 1, 30), MAX_S))
        bans[client] = Ban(client, event, now, now + for_s, times)
        self._slots[self._banned_slots[event]] += 1
        why = "by npserver ban" if event == BY_HAND else event
        key_of_event = "for" if event == BY_HAND else f"learn.{event}"
        log.info("%s is banned for %g s: %s (networks.%s.%s)", client, for_s, why, one.name, key_of_event)
        self._make_room(one)
        self._touch(one.name)

    def _make_room(self, one: LearntSet) -> None:
        bans = self._bans[one.name]
        while len(bans) > one.max_bans > 0:
            self._lifted(one.name, bans.pop(next(iter(bans))), "to make room", "max_bans")

    def _lift_excepted(self, one: LearntSet) -> None:
        for client, ban in list(self._bans[one.name].items()):
            if one.banned.is_excepted(client.partition("/")[0]):
                del self._bans[one.name][client]
                self._lifted(one.name, ban, "it is excepted now", "except")

    def _lift_ended(self) -> None:
        now = self._context.wall_clock()
        for name, bans in self._bans.items():
            for ban in [one for one in bans.values() if one.until <= now]:
                del bans[ban.client]
                self._lifted(name, ban, OVER)

    def _lifted(self, name: str, ban: Ban, why: str, key: str = "for") -> None:
        self._slots[self._lifted_slot] += 1
        log.info("%s is no longer banned: %s (networks.%s.%s)", ban.client, why, name, key)
        self._touch(name)

    def _touch(self, name: str) -> None:
        self._changed.add(name)
        self._wakeup.set()

    async def _keep(self, name: str) -> None:
        if self._store is None:
            return
        try:
            await self._store.put(store_key(name), msgspec.json.encode(list(self._bans[name].values())))
        except StoreError as error:
            log.warning("networks.%s: the bans cannot be kept over a restart: %s", name, error)


def store_key(name: str) -> str:
    """Return the key of the bans of a network."""
    return f"networks/bans-{sha256(name.encode()).hexdigest()[:32]}"


def decode_bans(value: bytes) -> list[Ban] | None:
    """Return the bans that the store has; None if they are damaged."""
    try:
        return msgspec.json.decode(value, type=list[Ban])
    except msgspec.MsgspecError:
        return None
