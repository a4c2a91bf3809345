"""The zones that change while they are served, in the controller: follows their files, and tells all processes.

The serial of a zone only grows: a file that has changed without a newer serial is served with the one after the last,
unless it is signed. The store keeps the serials. A file that cannot be used changes nothing; the log says so once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from msgspec import Struct, convert, field

from npserver.dns.message import codes
from npserver.dns.message.name import to_text
from npserver.dns.zone.content import (
    Content,
    SetChange,
    ZoneChange,
    apply,
    differences,
    encode_content,
    is_newer,
    next_serial,
    serial_of,
    with_serial,
)
from npserver.dns.zone.presigned import is_signed
from npserver.errors import StoreError
from npserver.nameserver.zones.messages import (
    ASK,
    WHOLE,
    Asked,
    Published,
    Whole,
    as_message,
    decode_kept,
    decode_updated,
    encode_kept,
    encode_updated,
    taken_slot,
    topic_of,
)
from npserver.nameserver.zones.replica import trim
from npserver.nameserver.zones.zone_file import Stamp, ZoneFileError, read_zone_file, stamp_of
from npserver.runtime.zone_states import ZoneState, publish_states

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.nameserver.zones.zone_file import ReadFile, ZoneRecords
    from npserver.runtime.context import Context
    from npserver.store.interface import Store

log = logging.getLogger("npserver.dns")

LOOK_S = 2.0  # between two looks at the files
AGREE_S = 0.005  # between two looks at what the workers have taken


class ChangingZone(Struct):
    """A zone that changes: by its file, or by updates."""

    # base     the records of the file, or of the config
    # updated  what updates have made of them
    # content  what is served: both together
    # version  of the content, for the workers
    # lock     held by whoever makes a change

    apex: bytes
    path: str  # of the config, such as dns_zones[0]
    base: Content
    version: int
    file: str = ""  # the path; empty if the records are in the config
    files: dict[str, Stamp] = field(default_factory=dict)  # it and those that it includes, as they were when read
    unsigned_for: str = ""  # the key for which the file must not be signed
    updated: tuple[SetChange, ...] = ()
    content: Content = field(default_factory=dict)
    history: deque[ZoneChange] = field(default_factory=deque)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    error: str = ""  # why the file is not in force

    def __post_init__(self) -> None:
        self.content = self.content or self.base

    @property
    def key(self) -> str:
        """The key that names the file."""
        return f"{self.path}.file"

    @property
    def updates_key(self) -> str:
        """The key that says who may update it."""
        return f"{self.path}.updates"

    @property
    def name(self) -> str:
        """The zone, for people."""
        return to_text(self.apex)

    @property
    def store_key(self) -> str:
        """Where the store keeps the serial."""
        return f"dns/zones/{sha256(self.apex).hexdigest()[:32]}"

    @property
    def updates_store_key(self) -> str:
        """Where the store keeps what updates have made."""
        return f"dns/updates/{sha256(self.apex).hexdigest()[:32]}"


class ZoneService:
    """The service."""

    __slots__ = ("_context", "_read", "_slot", "_store", "_version", "_zones", "is_begun")

    def __init__(self, context: Context, store: Store, zones: Sequence[ChangingZone], read: ReadFile) -> None:
        self._context = context
        self._store = store
        self._zones = {zone.apex: zone for zone in zones}
        self._read = read
        self._slot = taken_slot(context)
        self.is_begun = asyncio.Event()
        self._version = time.time_ns()  # a new controller does not repeat the versions of its predecessor

    def __repr__(self) -> str:
        return f"<ZoneService {', '.join(zone.name for zone in self._zones.values())}>"

    async def run(self) -> None:
        """Run until cancelled."""
        end = self._context.pubsub.subscribe(ASK, self._asked)
        try:
            for zone in self._zones.values():
                async with zone.lock:
                    records = await self._reread(zone) if self._has_changed(zone) else None
                    await self._begin(zone, records.sets if records is not None else zone.base)
            self._tell()
            self.is_begun.set()
            while True:
                await asyncio.sleep(LOOK_S)
                for zone in self._zones.values():
                    if self._has_changed(zone):
                        async with zone.lock:
                            if (records := await self._reread(zone)) is not None:
                                await self._take(zone, records)
        finally:
            end()

    # ── changes ──

    async def change(self, zone: ChangingZone, content: Content) -> None:
        """Serve another content from now on, with a serial that is newer than the last one, unless that is signed."""
        if not differences(zone.content, content):
            return
        served = serial_of(zone.content, zone.apex)
        given = serial_of(content, zone.apex)
        if not is_newer(given, served) and not is_signed(content, zone.apex):
            content = with_serial(content, zone.apex, next_serial(served))
        await self._keep(zone, content)  # before anybody sees it
        self._publish(zone, content)

    def find(self, apex: bytes) -> ChangingZone | None:
        """Return a zone."""
        return self._zones.get(apex)

    async def change_by_update(self, zone: ChangingZone, content: Content) -> None:
        """Serve what an update has made of a zone, whose lock is held. Raises: StoreError if it cannot be kept."""
        changes = differences(zone.base, content)
        updated = tuple([one for one in changes if (one.name, one.rtype) != (zone.apex, codes.SOA)])
        await self._store.put(zone.updates_store_key, encode_updated(updated))
        zone.updated = updated
        await self.change(zone, content)

    async def agreed(self, limit_s: float) -> list[int]:
        """Wait until all workers serve the last change. Return the numbers of those that do not after `limit_s`."""
        loop, rows = self._context.loop, self._context.row.board.rows[1:]  # the first is the controller's
        end = loop.time() + limit_s
        while True:
            late = [number for number, row in enumerate(rows) if row[self._slot] < self._version]
            if not late or loop.time() > end:
                return late
            await asyncio.sleep(AGREE_S)

    async def _begin(self, zone: ChangingZone, base: Content) -> None:
        """Go on from the serial of the last run, and let workers with another content ask for this one."""
        kept = None
        try:
            zone.updated = decode_updated(await self._store.get(zone.updates_store_key))
            kept = decode_kept(await self._store.get(zone.store_key))
        except StoreError as error:
            log.warning("serial and updates of %s of the last run are not known (store): %s", zone.name, error)
        zone.base, content = base, resumed(base, zone.apex, kept, zone.updated)
        if kept != (serial_of(content, zone.apex), _digest(content, zone.apex)):
            await self._keep(zone, content)
        has_told = self._context.pubsub.latest.get(topic_of(zone.apex)) is not None  # of a former config or controller
        if has_told or differences(zone.content, content):
            self._publish(zone, content)

    def _publish(self, zone: ChangingZone, content: Content) -> None:
        """Tell all processes of a content."""
        serials = serial_of(zone.content, zone.apex), serial_of(content, zone.apex)
        change = ZoneChange(*serials, differences(zone.content, content))
        before, self._version = zone.version, self._version + 1
        zone.content, zone.version = apply(zone.content, change.sets), self._version
        zone.history.append(change)
        trim(zone.history, zone.content)
        published = Published.of(before, zone.version, change)
        self._context.pubsub.publish(topic_of(zone.apex), as_message(published))

    async def _keep(self, zone: ChangingZone, content: Content) -> None:
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

    def _has_changed(self, zone: ChangingZone) -> bool:
        """Return whether one of its files is not as it was when it was read, or looked at last."""
        changed = False
        for file, stamp in zone.files.items():
            if (now := stamp_of(file)) != stamp:
                zone.files[file] = now
                changed = True
        return changed

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
        await self.change(zone, apply(zone.base, zone.updated))
        if zone.version != before:
            serial = serial_of(zone.content, zone.apex)
            instead = "" if serial == given else f", as the file has {given}, which is not newer: raise it there"
            if is_signed(records.sets, zone.apex) and not is_newer(given, served):
                log.warning("zone %s has changed, but its signed serial %d is not newer than %d: secondaries will not "
                            "fetch it (%s)", zone.name, given, served, zone.key)  # fmt: skip
            log.info("zone %s has changed: serial %d%s (%s)", zone.name, serial, instead, zone.key)
        self._tell()

    def _tell(self) -> None:
        publish_states(self._context.pubsub, [_state(zone) for zone in self._zones.values()])


def _state(zone: ChangingZone) -> ZoneState:
    source = zone.file or zone.updates_key
    return ZoneState(zone.name, source, serial_of(zone.content, zone.apex), len(zone.content), zone.error)


def resumed(base: Content, apex: bytes, kept: tuple[int, bytes] | None, updated: tuple[SetChange, ...]) -> Content:
    """Return what is served of the records of a file or the config, after what the store has kept.

    Args:
        kept: the last serial, and the digest of what had it; None if there is none.
        updated: what updates have made.
    """
    content = apply(base, updated)
    if kept is None or is_signed(content, apex) or is_newer(serial_of(content, apex), kept[0]):
        return content
    return with_serial(content, apex, kept[0] if kept[1] == _digest(content, apex) else next_serial(kept[0]))


def _digest(content: Content, apex: bytes) -> bytes:
    """Return what stands for a content, whatever its serial and order are."""
    plain = with_serial(content, apex, 0)
    ordered = {
        name: {rtype: (ttl, tuple(sorted(data))) for rtype, (ttl, data) in sorted(plain[name].items())}
        for name in sorted(plain)
    }
    return sha256(encode_content(ordered)).digest()[:16]
