"""The zones that change while they are served, in the controller: follows their files, and tells all processes.

The serial of a zone only grows: a file that has changed without a newer serial is served with the one after the last.
The store keeps the serials. A file that cannot be used changes nothing; the log says so once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from msgspec import Struct, convert, field

from npserver.dns.message.name import to_text
from npserver.dns.zone.content import (
    Content,
    ZoneChange,
    apply,
    differences,
    encode_content,
    is_newer,
    next_serial,
    serial_of,
    with_serial,
)
from npserver.errors import StoreError
from npserver.nameserver.zones.messages import (
    ASK,
    WHOLE,
    Asked,
    Published,
    Whole,
    as_message,
    decode_kept,
    encode_kept,
    topic_of,
)
from npserver.nameserver.zones.replica import trim
from npserver.nameserver.zones.states import ZoneState, publish_states
from npserver.nameserver.zones.zone_file import Stamp, ZoneFileError, read_zone_file, stamp_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.nameserver.zones.zone_file import ReadFile, ZoneRecords
    from npserver.runtime.context import Context
    from npserver.store.interface import Store

log = logging.getLogger("npserver.dns")

LOOK_S = 2.0  # between two looks at the files


class FileZone(Struct):
    """A zone of a file."""

    apex: bytes
    file: str  # the path
    key: str  # of the config, such as dns_zones[0].file
    content: Content
    files: dict[str, Stamp]  # it and those that it includes, as they were when they were read
    version: int
    history: deque[ZoneChange] = field(default_factory=deque)
    error: str = ""  # why the file is not in force

    @property
    def name(self) -> str:
        """The zone, for people."""
        return to_text(self.apex)

    @property
    def store_key(self) -> str:
        """Where the store keeps the serial."""
        return f"dns/zones/{sha256(self.apex).hexdigest()[:32]}"


class ZoneService:
    """The service."""

    __slots__ = ("_context", "_read", "_store", "_version", "_zones")

    def __init__(self, context: Context, store: Store, zones: Sequence[FileZone], read: ReadFile) -> None:
        self._context = context
        self._store = store
        self._zones = {zone.apex: zone for zone in zones}
        self._read = read
        self._version = time.time_ns()  # a new controller does not repeat the versions of its predecessor

    def __repr__(self) -> str:
        return f"<ZoneService {', '.join(zone.name for zone in self._zones.values())}>"

    async def run(self) -> None:
        """Run until cancelled."""
        end = self._context.pubsub.subscribe(ASK, self._asked)
        try:
            for zone in self._zones.values():
                records = await self._reread(zone) if self._has_changed(zone) else None
                await self._begin(zone, records.sets if records is not None else zone.content)
            self._tell()
            while True:
                await asyncio.sleep(LOOK_S)
                for zone in self._zones.values():
                    if self._has_changed(zone) and (records := await self._reread(zone)) is not None:
                        await self._take(zone, records)
        finally:
            end()

    # ── changes ──

    async def change(self, zone: FileZone, content: Content) -> None:
        """Serve another content from now on, with a serial that is newer than the last one."""
        if not differences(zone.content, content):
            return
        served = serial_of(zone.content, zone.apex)
        given = serial_of(content, zone.apex)
        if not is_newer(given, served):
            content = with_serial(content, zone.apex, next_serial(served))
        await self._keep(zone, content)  # before anybody sees it
        self._publish(zone, content)

    async def _begin(self, zone: FileZone, content: Content) -> None:
        """Go on from the serial of the last run, and let workers with another content ask for this one."""
        kept = None
        try:
            kept = decode_kept(await self._store.get(zone.store_key))
        except StoreError as error:
            log.warning("the serial of %s of the last run is not known (store): %s", zone.name, error)
        if kept is not None and not is_newer(serial_of(content, zone.apex), kept[0]):
            serial = kept[0] if kept[1] == _digest(content, zone.apex) else next_serial(kept[0])
            content = with_serial(content, zone.apex, serial)
        if kept != (serial_of(content, zone.apex), _digest(content, zone.apex)):
            await self._keep(zone, content)
        has_told = self._context.pubsub.latest.get(topic_of(zone.apex)) is not None  # of a former config or controller
        if has_told or differences(zone.content, content):
            self._publish(zone, content)

    def _publish(self, zone: FileZone, content: Content) -> None:
        """Tell all processes of a content."""
        serials = serial_of(zone.content, zone.apex), serial_of(content, zone.apex)
        change = ZoneChange(*serials, differences(zone.content, content))
        before, self._version = zone.version, self._version + 1
        zone.content, zone.version = apply(zone.content, change.sets), self._version
        zone.history.append(change)
        trim(zone.history, zone.content)
        published = Published.of(before, zone.version, change)
        self._context.pubsub.publish(topic_of(zone.apex), as_message(published))

    async def _keep(self, zone: FileZone, content: Content) -> None:
        try:
            await self._store.put(
                zone.store_key, encode_kept(serial_of(content, zone.apex), _digest(content, zone.apex))
            )
        except StoreError as error:
            log.warning("the serial of %s is not kept over a restart (store): %s", zone.name, error)

    def _asked(self, message: Any) -> None:
        """A worker asks for a zone."""
        asked = convert(message, Asked)
        zone = self._zones.get(bytes.fromhex(asked.apex))
        if zone is not None:
            whole = Whole.of(zone.apex, zone.version, zone.content, list(zone.history))
            self._context.pubsub.tell(asked.worker, WHOLE, as_message(whole))

    # ── files ──

    def _has_changed(self, zone: FileZone) -> bool:
        """Return whether one of its files is not as it was when it was read, or looked at last."""
        changed = False
        for file, stamp in zone.files.items():
            if (now := stamp_of(file)) != stamp:
                zone.files[file] = now
                changed = True
        return changed

    async def _reread(self, zone: FileZone) -> ZoneRecords | None:
        """Return what the file has now; None if it cannot be used."""
        try:
            records = await asyncio.to_thread(read_zone_file, zone.file, zone.apex, self._read)
        except ZoneFileError as error:
            if zone.error != str(error):
                log.warning("%s; the zone %s stays as it is (%s)", error, zone.name, zone.key)
            zone.error = str(error)
            self._tell()
            return None
        zone.files, zone.error = records.files, ""
        for note in records.notes:
            log.warning("%s (%s)", note, zone.key)
        return records

    async def _take(self, zone: FileZone, records: ZoneRecords) -> None:
        """Serve what a file has now."""
        before, given = zone.version, serial_of(records.sets, zone.apex)
        await self.change(zone, records.sets)
        if zone.version != before:
            serial = serial_of(zone.content, zone.apex)
            instead = "" if serial == given else f", as the file has {given}, which is not newer: raise it there"
            log.info("zone %s has changed: serial %d%s (%s)", zone.name, serial, instead, zone.key)
        self._tell()

    def _tell(self) -> None:
        publish_states(
            self._context.pubsub,
            [
                ZoneState(zone.name, zone.file, serial_of(zone.content, zone.apex), len(zone.content), zone.error)
                for zone in self._zones.values()
            ],
        )


def _digest(content: Content, apex: bytes) -> bytes:
    """Return what stands for a content, whatever its serial and order are."""
    plain = with_serial(content, apex, 0)
    ordered = {
        name: {rtype: (ttl, tuple(sorted(data))) for rtype, (ttl, data) in sorted(plain[name].items())}
        for name in sorted(plain)
    }
    return sha256(encode_content(ordered)).digest()[:16]
