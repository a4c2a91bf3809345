"""The service of all zones that are transferred from primaries: runs each, and tells the workers of their changes."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from msgspec import MsgspecError, convert

from npserver.dns.zone.content import Content, ZoneChange, differences, serial_of
from npserver.nameserver.transfers.hearing import NOTIFIED, Notified
from npserver.nameserver.transfers.secondary import Secondary, SecondaryZone
from npserver.nameserver.zones.messages import read_published, topic_of
from npserver.nameserver.zones.publisher import ZonePublisher
from npserver.nameserver.zones.replica import HELD, Held
from npserver.runtime.zone_states import SECONDARIES, ZoneState, publish_states

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.runtime.context import Context
    from npserver.store.interface import Store

MAX_TRANSFERS = 10  # at a time


class SecondaryService:
    """The service."""

    __slots__ = ("_context", "_publisher", "_secondaries", "_zones")

    def __init__(self, context: Context, store: Store, zones: Sequence[SecondaryZone]) -> None:
        self._context = context
        self._zones = {zone.apex: zone for zone in zones}
        turns = asyncio.Semaphore(MAX_TRANSFERS)
        self._secondaries = {
            zone.apex: Secondary(context, store, zone, self._publish, self._tell, turns) for zone in zones
        }
        # the versions of other zones are larger
        self._publisher = ZonePublisher(context, self._zones.get, time.time_ns() >> 1)

    def __repr__(self) -> str:
        return f"<SecondaryService {', '.join(zone.name for zone in self._zones.values())}>"

    async def run(self) -> None:
        """Run until cancelled."""
        pubsub = self._context.pubsub
        ends = [self._publisher.answer(), pubsub.subscribe(NOTIFIED, self._heard)]
        try:
            self._agree()
            self._tell()
            async with asyncio.TaskGroup() as group:
                for one in self._secondaries.values():
                    group.create_task(one.run())
        finally:
            for end in ends:
                end()

    def _agree(self) -> None:
        """Let workers that have had another content from a former controller ask for this one."""
        for zone in self._zones.values():
            latest = self._context.pubsub.latest.get(topic_of(zone.apex))
            if latest is not None and read_published(latest).after != zone.version:
                self._publish(zone, zone.content)

    def _publish(self, zone: SecondaryZone, content: Content) -> None:
        """Tell all processes of a content."""
        to_serial = serial_of(content, zone.apex) if content else 0
        self._publisher.publish(zone, ZoneChange(zone.serial, to_serial, differences(zone.content, content)))
        held = Held(zone.content, zone.version, zone.history.changes, zone.checked_at)
        HELD.of(self._context)[zone.apex] = held

    def _heard(self, message: Any) -> None:
        """A worker has received a NOTIFY."""
        try:
            notified = convert(message, Notified)
        except MsgspecError:
            return
        secondary = self._secondaries.get(bytes.fromhex(notified.apex))
        if secondary is not None:
            secondary.notify(notified.client)

    def _tell(self) -> None:
        held = HELD.of(self._context)
        for zone in self._zones.values():
            if (one := held.get(zone.apex)) is not None:
                one.checked_at = zone.checked_at
        publish_states(self._context.pubsub, [_state(zone) for zone in self._zones.values()], SECONDARIES)


def _state(zone: SecondaryZone) -> ZoneState:
    source = zone.source or ", ".join(map(str, zone.primaries))
    names = len(zone.content)
    return ZoneState(zone.name, source, zone.serial, names, zone.error, zone.next_at, zone.checked_at)
