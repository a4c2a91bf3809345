"""The zones that change while they are served, in the controller: follows their files, and tells all processes.

The serial of a zone only grows: a file that has changed without a newer serial is served with the one after the last,
unless it is signed. The store keeps the serials. A file that cannot be used changes nothing; the log says so once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from npserver.dns.zone.content import (
    Content,
    ZoneChange,
    apply,
    differences,
    is_newer,
    next_serial,
    serial_of,
    with_serial,
)
from npserver.dns.zone.presigned import is_signed
from npserver.errors import StoreError
from npserver.nameserver.zones.changing_zone import ChangingZone, Kept, newer, resumed
from npserver.nameserver.zones.journal import Change, Cut, Journal
from npserver.nameserver.zones.messages import (
    decode_kept,
    encode_kept,
    taken_slot,
    topic_of,
)
from npserver.nameserver.zones.overlay import changed_sets, entries_of
from npserver.nameserver.zones.publisher import ZonePublisher
from npserver.nameserver.zones.zone_file import ZoneFileError, read_zone_file, stamp_of
from npserver.runtime.zone_states import ZoneState, publish_states

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from npserver.dns.zone.content import SetChange
    from npserver.dns.zone.tables import RecordSet
    from npserver.nameserver.zones.zone_file import ReadFile, ZoneRecords
    from npserver.runtime.context import Context
    from npserver.store.interface import Store

log = logging.getLogger("npserver.dns")

LOOK_S = 2.0  # between two looks at the files
SETTLE_S = 0.3  # for which a file has not changed before it is read: editors write in several steps
SETTLES = 30  # at most
AGREE_S = 0.005  # between two looks at what the workers have taken


class ZoneService:
    """The service."""

    # _journals         of the zones' updates
    # _replacing        journals that are written anew
    # _has_told_states  whether the states of the zones are published as they are

    __slots__ = (
        "_context", "_has_ended", "_has_told_states", "_journals", "_publisher", "_read", "_replacing", "_slot",
        "_store", "_zones", "is_begun",
    )  # fmt: skip

    def __init__(self, context: Context, store: Store, zones: Sequence[ChangingZone], read: ReadFile) -> None:
        self._context = context
        self._store = store
        self._zones = {zone.apex: zone for zone in zones}
        self._journals = {zone.apex: Journal(store, zone.apex) for zone in zones}
        self._replacing: dict[bytes, asyncio.Future[None]] = {}
        self._has_ended = False
        self._has_told_states = True
        self._read = read
        self._slot = taken_slot(context)
        self.is_begun = asyncio.Event()
        self._publisher = ZonePublisher(context, self._asked_for, time.time_ns())

    def __repr__(self) -> str:
        return f"<ZoneService {', '.join(zone.name for zone in self._zones.values())}>"

    async def run(self) -> None:
        """Run until cancelled."""
        self._has_ended = False
        end = self._publisher.answer()
        try:
            for zone in self._zones.values():
                has_changed = self._has_changed(zone)
                records = await self._reread(zone) if has_changed else None
                if has_changed and records is None and self._has_told(zone):
                    zone.is_unknown = True
                    continue
                async with zone.lock:
                    await self._begin(zone, records.sets if records is not None else zone.base)
            self._tell()
            self.is_begun.set()
            while True:
                await asyncio.sleep(LOOK_S)
                if not self._has_told_states:  # after updates, which can be many a second
                    self._tell()
                for zone in self._zones.values():
                    if self._has_changed(zone):
                        await self._follow(zone)
        finally:
            self._has_ended = True
            for zone in self._zones.values():
                async with zone.lock:  # workers may ask for what an update is just making
                    pass
            end()
            if self._replacing:  # the next service reads the journals
                await asyncio.wait([*self._replacing.values()])

    # ── changes ──

    async def change(self, zone: ChangingZone, content: Content) -> None:
        """Serve another content from now on, with a serial that is newer than the last one, unless that is signed."""
        changes = differences(zone.content, content)
        if not changes:
            return
        served = serial_of(zone.content, zone.apex)
        given = serial_of(content, zone.apex)
        if not is_newer(given, served) and not is_signed(content, zone.apex):
            given = next_serial(served)
            changes = differences(zone.content, with_serial(content, zone.apex, given))
        await self._keep(zone, zone.kept(changes, given))  # before anybody sees it
        self._publish(zone, changes, given)

    def find(self, apex: bytes) -> ChangingZone | None:
        """Return a zone."""
        return self._zones.get(apex)

    async def change_by_update(self, zone: ChangingZone, names: Mapping[bytes, dict[int, RecordSet]]) -> None:
        """Serve what updates have made of a zone, whose lock is held. Raises: StoreError if it cannot be kept.

        `names`: those that change, with all record sets that they have then, and the SOA with a newer serial.
        """
        changes, journal = changed_sets(zone.content, names), self._journals[zone.apex]
        serial = serial_of(names, zone.apex)
        entries = entries_of(zone.base, zone.apex, changes)
        await journal.add(Change(*zone.kept(changes, serial), tuple(entries)))
        zone.overlay.take(entries)
        self._publish(zone, changes, serial)
        self._has_told_states = False
        if journal.is_long() and zone.apex not in self._replacing and not self._has_ended:
            replacing = asyncio.ensure_future(self._replace(zone, journal.cut(zone.overlay)))
            self._replacing[zone.apex] = replacing
            replacing.add_done_callback(lambda _: self._replacing.pop(zone.apex, None))

    async def _replace(self, zone: ChangingZone, cut: Cut) -> None:
        """Write the journal of a zone anew, while updates go on."""
        try:
            await self._journals[zone.apex].replace(cut)
        except StoreError as error:
            log.warning("the updates of %s are kept, but what they take in the store grows: %s", zone.name, error)

    async def agreed(self, limit_s: float) -> list[int]:
        """Wait until all workers serve the last change. Return the numbers of those that do not after `limit_s`."""
        loop, rows = self._context.loop, self._context.row.board.rows[1:]  # the first is the controller's
        end = loop.time() + limit_s
        while True:
            late = [number for number, row in enumerate(rows) if row[self._slot] < self._publisher.version]
            if not late or loop.time() > end:
                return late
            await asyncio.sleep(AGREE_S)

    async def _begin(self, zone: ChangingZone, base: Content) -> None:
        """Go on from the serial of the last run, and let workers with another content ask for this one."""
        journal, kept = self._journals[zone.apex], None
        try:
            zone.overlay = await journal.load()
            kept = newer(decode_kept(await self._store.get(zone.store_key)), journal.last)
            await journal.remove_others()
        except StoreError as error:
            log.warning("serial and updates of %s of the last run are not known (store): %s", zone.name, error)
        content = resumed(base, zone.apex, kept, zone.overlay)
        changes, serial = differences(zone.content, content), serial_of(content, zone.apex)
        zone.base = base
        if kept != (now := zone.kept(changes, serial)):
            await self._keep(zone, now)
        if self._has_told(zone) or changes:
            self._publish(zone, changes, serial)

    def _has_told(self, zone: ChangingZone) -> bool:
        """Return whether a former config or controller has told the workers of a zone."""
        return self._context.pubsub.latest.get(topic_of(zone.apex)) is not None

    def _publish(self, zone: ChangingZone, changes: tuple[SetChange, ...], serial: int) -> None:
        """Tell all processes of changes, which lead to a serial."""
        self._publisher.publish(zone, ZoneChange(serial_of(zone.content, zone.apex), serial, changes))

    async def _keep(self, zone: ChangingZone, kept: Kept) -> None:
        try:
            await self._store.put(zone.store_key, encode_kept(*kept))
        except StoreError as error:
            log.warning("the serial of %s is not kept over a restart (store): %s", zone.name, error)

    def _asked_for(self, apex: bytes) -> ChangingZone | None:
        """Return a zone that a worker asks for."""
        zone = self._zones.get(apex)
        return None if zone is None or zone.is_unknown else zone

    # ── files ──

    def _has_changed(self, zone: ChangingZone) -> bool:
        """Return whether one of its files is not as it was when it was read, or looked at last."""
        changed = False
        for file, stamp in zone.files.items():
            if (now := stamp_of(file)) != stamp:
                zone.files[file] = now
                changed = True
        return changed

    async def _follow(self, zone: ChangingZone) -> None:
        """Serve what a file has that has changed, once nobody writes to it any more."""
        for _ in range(SETTLES):
            await asyncio.sleep(SETTLE_S)
            if not self._has_changed(zone):
                break
        records = await self._reread(zone)  # without the lock: a large file takes seconds, in which updates go on
        if records is None:
            return
        async with zone.lock:
            if zone.is_unknown:
                zone.is_unknown = False
                await self._begin(zone, records.sets)
                self._tell()
            else:
                await self._take(zone, records)

    async def _reread(self, zone: ChangingZone) -> ZoneRecords | None:
        """Return what the file has now; None if it cannot be used."""
        try:
            records = await asyncio.to_thread(read_zone_file, zone.file, zone.apex, self._read)
            if zone.unsigned_for and is_signed(records.sets, zone.apex):
                raise ZoneFileError(
                    f"{zone.file}: it is signed (RRSIG records), which does not go with {zone.unsigned_for}"
                )
        except ZoneFileError as error:
            if zone.error != str(error):
                log.warning("%s; the zone %s stays as it is (%s)", error, zone.name, zone.key)
            zone.error = str(error)
            zone.files |= error.files  # one that is missing may come
            self._tell()
            return None
        zone.files, zone.error = records.files, ""
        for note in records.notes:
            log.warning("%s (%s)", note, zone.key)
        return records

    async def _take(self, zone: ChangingZone, records: ZoneRecords) -> None:
        """Serve what a file has now."""
        before, served, given = zone.version, serial_of(zone.content, zone.apex), serial_of(records.sets, zone.apex)
        zone.base = records.sets
        await self.change(zone, apply(zone.base, zone.overlay.changes()))
        if zone.version != before:
            serial = serial_of(zone.content, zone.apex)
            instead = "" if serial == given else f", as the file has {given}, which is not newer: raise it there"
            if is_signed(records.sets, zone.apex) and not is_newer(given, served):
                log.warning("zone %s has changed, but its signed serial %d is not newer than %d: secondaries will not "
                            "fetch it (%s)", zone.name, given, served, zone.key)  # fmt: skip
            log.info("zone %s has changed: serial %d%s (%s)", zone.name, serial, instead, zone.key)
        self._tell()

    def _tell(self) -> None:
        self._has_told_states = True
        publish_states(self._context.pubsub, [_state(zone) for zone in self._zones.values()])


def _state(zone: ChangingZone) -> ZoneState:
    source = zone.file or zone.updates_key
    return ZoneState(zone.name, source, serial_of(zone.content, zone.apex), len(zone.content), zone.error)
