"""Takes the steps of roll-overs when they are due, in the controller, and tells all processes of other keys."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.dns.message.name import to_text
from npserver.errors import StoreError
from npserver.nameserver.dnssec.rollover import (
    Timing,
    awaits_ds,
    begin,
    in_progress,
    next_step,
    roles,
    roll_due_at,
)
from npserver.nameserver.dnssec.signer import TOPIC
from npserver.nameserver.dnssec.state import PREFIX, Role, ZoneState, decode, encode, store_key
from npserver.runtime.signed_zone_states import SignedZoneState, publish_signed, published_signed

if TYPE_CHECKING:
    from npserver.runtime.context import Context
    from npserver.store.interface import Store

log = logging.getLogger("npserver.dns")

LOOK_S = 30.0  # between two looks at the clock, which may be set at any time
REMIND_S = 7 * 86_400.0  # between two reminders that the parent is waited for


class KeptZone(Struct, frozen=True):
    """A zone whose keys are kept."""

    apex: bytes
    timing: Timing
    roll_s: float | None = None  # the age at which `csk` and `ksk` are replaced by themselves
    roll_zsk_s: float | None = None  # the same of `zsk`

    def roll_after(self, role: Role) -> float | None:
        """Return the age at which a key of this role is replaced by itself."""
        return self.roll_zsk_s if role == "zsk" else self.roll_s


class DnssecService:
    """The service."""

    __slots__ = ("_changed", "_context", "_failures", "_reminded", "_states", "_store", "_zones")

    def __init__(self, context: Context, store: Store, zones: Mapping[bytes, KeptZone]) -> None:
        self._context = context
        self._store = store
        self._zones = zones
        self._states: dict[bytes, ZoneState] = {}
        self._failures: dict[bytes, str] = {}  # the last one logged
        self._reminded: dict[bytes, float] = {}
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<DnssecService {' '.join(map(to_text, self._zones))}>"

    def describe(self) -> list[str]:
        """Return what is kept, as text."""
        return [f"keys of the signed zone {to_text(apex)}" for apex in self._zones]

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch(), name="keys of signed zones")
            while True:
                self._changed.clear()
                await self.look()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), LOOK_S)

    async def look(self) -> None:
        """Take the steps that are due, and tell all processes what has changed."""
        for apex, zone in self._zones.items():
            try:
                self._states[apex] = await self._keep(zone)
                self._failures.pop(apex, None)
            except (StoreError, ValueError) as error:
                if self._failures.get(apex) != str(error):
                    self._failures[apex] = str(error)
                    log.error("keys of zone %s: %s (dnssec)", to_text(apex), error)
        versions = {to_text(apex): state.version for apex, state in self._states.items()}
        pubsub = self._context.pubsub
        if versions != pubsub.latest.get(TOPIC):
            pubsub.publish(TOPIC, versions)
        now = self._context.wall_clock()
        told = [_shown(self._zones[apex], state, now) for apex, state in self._states.items()]
        if told != published_signed(pubsub):
            publish_signed(pubsub, told)

    async def _watch(self) -> None:
        while True:
            try:
                async for _ in self._store.watch(PREFIX):
                    self._changed.set()
            except StoreError as error:
                log.debug("keys of signed zones are not watched: %s", error)
            await asyncio.sleep(LOOK_S)

    async def _keep(self, zone: KeptZone) -> ZoneState:
        """Return the state of a zone after what is due. Raises: StoreError, ValueError."""
        key, now = store_key(zone.apex), self._context.wall_clock()
        while True:
            value = await self._store.get(key)
            if value is None:
                raise ValueError("they are gone from the store: restore them from a backup")
            state = decode(value)
            found = _due(zone, state, now)
            if found is None:
                self._remind(zone, state, now)
                return state
            text, after = found
            if await self._store.compare_and_swap(key, value, encode(after)):
                log.info("zone %s: %s (dnssec)", to_text(zone.apex), text)

    def _remind(self, zone: KeptZone, state: ZoneState, now: float) -> None:
        awaited = awaits_ds(state)
        if awaited is None or self._reminded.get(zone.apex, 0.0) > now - REMIND_S:
            return
        self._reminded[zone.apex] = now
        name = to_text(zone.apex)[:-1] or "."
        log.warning(
            "zone %s waits since %s for a DS record at its parent: `npserver dns ds %s` shows it, and "
            "`npserver dns roll %s -ds-seen` tells that it is there (dnssec)",
            name, time.strftime("%Y-%m-%d", time.gmtime(awaited.ds_asked_at)), name, name,
        )  # fmt: skip


def _shown(zone: KeptZone, state: ZoneState, now: float) -> SignedZoneState:
    """Return what people are told of a zone."""
    awaited, step = awaits_ds(state), next_step(state, zone.timing, now)
    return SignedZoneState(
        to_text(zone.apex)[:-1] or ".",
        tuple([f"{one.role} {one.load()[1].tag}" for one in state.keys]),
        awaited.ds_asked_at if awaited is not None else 0.0,
        step.text if step is not None else "",
        step.at if step is not None else 0.0,
    )


def _due(zone: KeptZone, state: ZoneState, now: float) -> tuple[str, ZoneState] | None:
    """Return what is due, and the state after it; None if nothing is."""
    step = next_step(state, zone.timing, now)
    if step is not None and step.at <= now:
        return step.text, step.after
    for role in roles(state):
        age_s = zone.roll_after(role)
        is_used = role == "zsk" or awaits_ds(state) is None
        if age_s and is_used and not in_progress(state, role) and roll_due_at(state, role, age_s) <= now:
            return f"a new {role} replaces one of {age_s / 86_400:g} days", begin(state, role)
    return None
