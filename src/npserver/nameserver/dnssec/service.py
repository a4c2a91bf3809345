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
from npserver.nameserver.dnssec.parent import Said, Servers, ask_parent
from npserver.nameserver.dnssec.rollover import (
    Timing,
    awaits_ds,
    begin,
    ds_missed,
    ds_seen,
    ends_entry_point,
    in_progress,
    next_step,
    roles,
    roll_due_at,
)
from npserver.nameserver.dnssec.signer import TOPIC
from npserver.nameserver.dnssec.state import PREFIX, Role, StoredKey, ZoneState, decode, encode, store_key
from npserver.runtime.signed_zone_states import SignedZoneState, publish_signed, published_signed

if TYPE_CHECKING:
    from npserver.runtime.context import Context
    from npserver.store.interface import Store

log = logging.getLogger("npserver.dns")

LOOK_S = 30.0  # between two looks at the clock, which may be set at any time
ASK_S = 600.0  # between two questions to a parent
REMIND_S = 7 * 86_400.0  # between two reminders that the parent is waited for


class KeptZone(Struct, frozen=True):
    """A zone whose keys are kept."""

    apex: bytes
    timing: Timing
    roll_s: float | None = None  # the age at which `csk` and `ksk` are replaced by themselves
    roll_zsk_s: float | None = None  # the same of `zsk`
    parent: Servers | None = None  # where the parent is asked for the DS record; None: it is not

    def roll_after(self, role: Role) -> float | None:
        """Return the age at which a key of this role is replaced by itself."""
        return self.roll_zsk_s if role == "zsk" else self.roll_s


class DnssecService:
    """The service."""

    __slots__ = (
        "_asked_at",
        "_changed",
        "_context",
        "_failures",
        "_looked",
        "_reminded",
        "_said",
        "_states",
        "_store",
        "_zones",
    )

    def __init__(self, context: Context, store: Store, zones: Mapping[bytes, KeptZone]) -> None:
        self._context = context
        self._store = store
        self._zones = zones
        self._states: dict[bytes, ZoneState] = {}
        self._failures: dict[bytes, str] = {}  # the last one logged
        self._reminded: dict[bytes, float] = {}
        self._asked_at: dict[bytes, float] = {}  # loop time at which the parent of a zone was asked last
        self._said: dict[bytes, Said] = {}  # what it has said
        self._changed = asyncio.Event()
        self._looked = asyncio.Event()

    def __repr__(self) -> str:
        return f"<DnssecService {' '.join(map(to_text, self._zones))}>"

    def describe(self) -> list[str]:
        """Return what is kept, as text."""
        return [f"keys of the signed zone {to_text(apex)}" for apex in self._zones]

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch(), name="keys of signed zones")
            group.create_task(self._watch_parents(), name="parents of signed zones")
            while True:
                self._changed.clear()
                await self.look()
                self._looked.set()
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
        told = [_shown(self._zones[apex], state, now, self._said.get(apex)) for apex, state in self._states.items()]
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

    async def _watch_parents(self) -> None:
        while True:
            self._looked.clear()
            await self.ask_parents()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._looked.wait(), LOOK_S)

    async def ask_parents(self) -> None:
        """Ask the parents that are waited for, and those whose former DS record is about to count no more."""
        for apex, zone in self._zones.items():
            state, now = self._states.get(apex), self._context.loop.time()
            if zone.parent is None or state is None or not self._is_asked(zone, state):
                self._said.pop(apex, None)
                self._asked_at.pop(apex, None)
            elif self._asked_at.get(apex, -ASK_S) <= now - ASK_S:
                await self._ask_parent(zone, state)

    def _is_asked(self, zone: KeptZone, state: ZoneState) -> bool:
        """Whether the parent's DS record decides about what is done next."""
        if zone.timing.has_our_parent:
            return False
        if awaits_ds(state) is not None:
            return True
        step = next_step(state, zone.timing, self._context.wall_clock())
        return step is not None and ends_entry_point(state, step)

    def _is_last_look(self, zone: KeptZone, state: ZoneState, now: float) -> bool:
        """Whether a key is about to go that the parent could know alone."""
        step = next_step(state, zone.timing, now)
        is_due = step is not None and step.at <= now and ends_entry_point(state, step)
        return is_due and zone.parent is not None and not zone.timing.has_our_parent

    async def _ask_parent(self, zone: KeptZone, state: ZoneState) -> Said:
        """Ask a parent, and note in the store what it says of the newest key."""
        apex, new = zone.apex, state.entry_points()[-1]
        assert zone.parent is not None
        self._asked_at[apex] = self._context.loop.time()
        before, said = self._said.get(apex), await ask_parent(apex, new.load()[0], zone.parent)
        self._said[apex] = said
        if before is None or said.text != before.text:
            log.info("zone %s: asked for its DS record, the parent says: %s (dnssec)", to_text(apex), said.text)
        if said.has_ds is not None:
            with suppress(StoreError, ValueError):  # which `look` tells of
                await self._note_ds(zone, new, said)
        self._changed.set()
        return said

    async def _note_ds(self, zone: KeptZone, key: StoredKey, said: Said) -> None:
        """Note that the parent has the DS record of a key, or has it no more. Raises: StoreError, ValueError."""
        name = store_key(zone.apex)
        while (value := await self._store.get(name)) is not None:
            state = decode(value)
            is_awaited = awaits_ds(state) is not None
            if state.entry_points()[-1].private != key.private or is_awaited != said.has_ds:
                return
            after = ds_seen(state, self._context.wall_clock(), said.ttl) if said.has_ds else ds_missed(state)
            if await self._store.compare_and_swap(name, value, encode(after)):
                if not said.has_ds:
                    log.error("zone %s: the former key stays, as the parent lacks the DS record of its successor: %s "
                              "(dnssec)", to_text(zone.apex), said.text)  # fmt: skip
                return

    async def _keep(self, zone: KeptZone) -> ZoneState:
        """Return the state of a zone after what is due. Raises: StoreError, ValueError."""
        key, now = store_key(zone.apex), self._context.wall_clock()
        while True:
            value = await self._store.get(key)
            if value is None:
                raise ValueError("they are gone from the store: restore them from a backup")
            state = decode(value)
            if self._is_last_look(zone, state, now):
                said = await self._ask_parent(zone, state)
                if said.has_ds is False:
                    return state  # which `_ask_parent` has changed
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
            "zone %s waits since %s for a DS record at its parent: `npserver dns ds %s` shows it; if the parent cannot "
            "be asked, `npserver dns roll %s -ds-seen` tells that it is there (dnssec)",
            name, time.strftime("%Y-%m-%d", time.gmtime(awaited.ds_asked_at)), name, name,
        )  # fmt: skip


def _shown(zone: KeptZone, state: ZoneState, now: float, said: Said | None) -> SignedZoneState:
    """Return what people are told of a zone."""
    awaited, step = awaits_ds(state), next_step(state, zone.timing, now)
    return SignedZoneState(
        to_text(zone.apex)[:-1] or ".",
        tuple([f"{one.role} {one.load()[1].tag}" for one in state.keys]),
        awaited.ds_asked_at if awaited is not None else 0.0,
        step.text if step is not None else "",
        step.at if step is not None else 0.0,
        said.text if said is not None else "",
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
