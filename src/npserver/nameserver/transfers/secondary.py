"""A zone that is transferred from its primary, in the controller: asks at its times and when notified, and keeps it.

A primary that fails is followed by the next one; each transfer is from one of them alone. What fails changes nothing,
until the zone expires: it is answered with SERVFAIL then.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from msgspec import Struct, field

from npserver.dns.message.name import to_text
from npserver.dns.zone.content import Content, ZoneChange, apply, is_newer, serial_of
from npserver.dns.zone.incoming import Received, TransferError
from npserver.errors import StoreError
from npserver.nameserver.transfers.client import fetch
from npserver.nameserver.transfers.kept import KeptZone
from npserver.nameserver.transfers.peers import Peer
from npserver.nameserver.transfers.timers import Timers, first_retry_s
from npserver.nameserver.zones.history import ZoneHistory

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.runtime.context import Context
    from npserver.store.interface import Store

log = logging.getLogger("npserver.dns")

NOTIFIED_PAUSE_S = 0.5  # between two looks for NOTIFYs, however many there are
LATE_S = 2.0  # a primary of several processes may answer with the former serial just after its NOTIFY
KEEP_S = 5.0  # between two writes of the records to the store


class SecondaryZone(Struct, eq=False):
    """The zone. `content` is empty as long as it was never transferred, and when it has expired."""

    apex: bytes
    key: str  # of the config, such as dns_zones[0].primary
    primaries: list[Peer]
    kept: KeptZone
    content: Content
    version: int  # of the content, for the workers
    checked_at: float = 0.0  # when a primary confirmed it, in seconds since 1970
    history: ZoneHistory = field(default_factory=ZoneHistory)
    error: str = ""  # why it was not transferred last
    source: str = ""  # the primary that it is from
    base: Content = field(default_factory=dict)  # that the tables of the workers are compiled of
    next_at: float = 0.0  # when a primary is asked again, in seconds since 1970

    @property
    def name(self) -> str:
        """The zone, for people."""
        return to_text(self.apex)

    @property
    def serial(self) -> int:
        """The serial; 0 if there is none."""
        return serial_of(self.content, self.apex) if self.content else 0

    def take(self, change: ZoneChange, version: int) -> None:
        """Go on to the zone after a change; the content before stays as it is, which may be on its way to the store."""
        self.content, self.version = apply(self.content, change.sets), version
        self.history.add(change, self.content)


class Secondary:
    """Keeps one zone up to date.

    Args:
        publish: called with the zone and another content, which all processes then serve.
        tell: called when something that people see has changed.
        turns: held during a transfer, so that not all zones are transferred at once.
    """

    def __init__(
        self,
        context: Context,
        store: Store,
        zone: SecondaryZone,
        publish: Callable[[SecondaryZone, Content], None],
        tell: Callable[[], None],
        turns: asyncio.Semaphore,
    ) -> None:
        self.zone = zone
        self._context = context
        self._store = store
        self._publish = publish
        self._tell = tell
        self._turns = turns
        self._notified = asyncio.Event()
        self._preferred = ""  # the address of the primary that has sent NOTIFY
        self._failures = 0  # in a row
        self._kept_at = 0.0  # loop time
        self._store_failure = ""

    def __repr__(self) -> str:
        return f"<Secondary {self.zone.name} serial={self.zone.serial} failures={self._failures}>"

    def notify(self, client: str) -> None:
        """Have the primaries asked soon, that with this address first."""
        self._preferred = client
        self._notified.set()

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            was_notified, version = self._notified.is_set(), self.zone.version
            self._notified.clear()
            async with self._turns:
                pause_s = await self._refresh()
            if was_notified and self.zone.version == version:
                pause_s = min(pause_s, LATE_S)
            self.zone.next_at = self._context.wall_clock() + pause_s
            self._tell()
            await self._keep()
            await self._wait(pause_s)

    async def _wait(self, pause_s: float) -> None:
        """Wait until the next look is due, or a NOTIFY has come."""
        loop = self._context.loop
        end = loop.time() + pause_s
        await asyncio.sleep(NOTIFIED_PAUSE_S)
        while not self._notified.is_set() and loop.time() < end:
            limit_s = end - loop.time()
            if self._is_kept_late():
                limit_s = min(limit_s, max(0.0, self._kept_at + KEEP_S - loop.time()))
            try:
                async with asyncio.timeout(limit_s):
                    await self._notified.wait()
            except TimeoutError:
                await self._keep()

    async def _refresh(self) -> float:
        """Ask the primaries; return the seconds until they are to be asked again."""
        zone = self.zone
        received = await self._ask_all()
        now = self._context.wall_clock()
        if received is not None:
            self._failures, zone.error, zone.checked_at = 0, "", now
            if received.content is not None:
                self._take(received)
            if zone.content:
                return Timers.of(zone.content, zone.apex).refresh_s
        self._failures += 1
        if not zone.content:
            return first_retry_s(self._failures)
        timers = Timers.of(zone.content, zone.apex)
        left_s = zone.checked_at + timers.expire_s - now
        if left_s > 0:
            return min(timers.retry_s, left_s)
        log.error("zone %s has expired, no primary has confirmed it for %g s: it is answered with SERVFAIL (%s)",
                  zone.name, timers.expire_s, zone.key)  # fmt: skip
        self._publish(zone, {})
        return first_retry_s(self._failures)

    async def _ask_all(self) -> Received | None:
        """Return what a primary has that is newer, or that none has, or None if all have failed."""
        zone = self.zone
        errors: list[str] = []
        answered: Received | None = None
        primaries = sorted(zone.primaries, key=lambda one: one.address != self._preferred)
        for peer in primaries:
            try:
                received = await fetch(peer, zone.apex, zone.content or None, self._context.wall_clock)
            except TransferError as error:
                errors.append(f"{peer}: {error}")
                self._count("failed")
                continue
            if received.content is not None:
                zone.source = str(peer)
                return received
            if is_newer(zone.serial, received.serial):
                errors.append(f"{peer}: its serial {received.serial} is older than ours, {zone.serial}")
            answered = received
        text = "; ".join(errors)
        if errors and text != zone.error:
            log.warning("zone %s is not transferred: %s (%s)", zone.name, text, zone.key)
        if answered is None:
            zone.error = text
        return answered

    def _count(self, result: str) -> None:
        row = self._context.row
        row.slots[row.slot(f"dns.transfers.{result}")] += 1

    def _take(self, received: Received) -> None:
        zone = self.zone
        assert received.content is not None
        before = zone.serial
        self._publish(zone, received.content)
        self._count("received")
        how = "its changes" if received.is_incremental else "the whole zone"
        log.info("zone %s has serial %d, before %d: %s from %s (%s)", zone.name, zone.serial, before, how, zone.source,
                 zone.key)  # fmt: skip
        if received.left_out:
            log.warning("zone %s: left out are %s (%s)", zone.name, ", ".join(received.left_out), zone.key)

    # ── the store ──

    def _is_kept_late(self) -> bool:
        return bool(self.zone.content) and self.zone.kept.version != self.zone.version

    async def _keep(self) -> None:
        """Keep what has changed, unless that was done just now."""
        zone, loop = self.zone, self._context.loop
        if not zone.content:
            return
        failure = ""
        try:
            if not self._is_kept_late():
                await zone.kept.confirm(self._store, zone.checked_at)
            elif not self._kept_at or loop.time() >= self._kept_at + KEEP_S:
                version, self._kept_at = zone.version, loop.time()
                await zone.kept.write(self._store, zone.content, zone.checked_at)
                zone.kept.version = version
        except StoreError as error:
            failure = str(error)
        if failure and failure != self._store_failure:
            log.warning("zone %s is not kept over a restart (store): %s", zone.name, failure)
        self._store_failure = failure
