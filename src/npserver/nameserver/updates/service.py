"""The controller's side of updates: makes them, one after another, and answers once they are kept and all serve them.

Those that wait while one is made are made together: one write to the store, and one change for the workers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from base64 import b64decode
from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import convert, to_builtins

from npserver.dns.message import codes
from npserver.dns.message.name import to_text
from npserver.dns.message.update import rcode_name
from npserver.dns.zone.content import serial_of
from npserver.errors import StoreError
from npserver.nameserver.updates.message import UpdateError, read_update
from npserver.nameserver.updates.policy import ZoneRules, may_change
from npserver.nameserver.updates.updater import ANSWER, ASK, BEGUN, Answered, Asked
from npserver.nameserver.updates.zone import Sets, update
from npserver.nameserver.zones.journal import MAX_CHANGE_BYTES
from npserver.nameserver.zones.overlay import changed_sets, entries_of
from npserver.runtime.context import PerProcess

if TYPE_CHECKING:
    from npserver.nameserver.zones.changing_zone import ChangingZone
    from npserver.nameserver.zones.service import ZoneService
    from npserver.runtime.context import Context

log = logging.getLogger("npserver.dns")

MAX_TOGETHER = 100
MAX_WAITING = 10_000  # updates of all workers
AGREED_WITHIN_S = 2.0  # all workers serve an update, else it is answered all the same: it is kept


class UpdateQueue:
    """The updates that wait, in one process: those that come during a reload are made by the next config."""

    def __init__(self, context: Context) -> None:
        self.waiting: asyncio.Queue[Asked] = asyncio.Queue(MAX_WAITING)
        self._pubsub = context.pubsub
        self._name = time.time_ns()
        context.pubsub.subscribe(ASK, self._asked)
        context.pubsub.publish(BEGUN, self._name)

    def __repr__(self) -> str:
        return f"<UpdateQueue of {self.waiting.qsize()} updates>"

    async def next(self) -> list[Asked]:
        """Return those that wait, at least one."""
        found = [await self.waiting.get()]
        while len(found) < MAX_TOGETHER and not self.waiting.empty():
            found.append(self.waiting.get_nowait())
        return found

    def _asked(self, message: Any) -> None:
        asked = convert(message, Asked)
        if asked.controller != self._name:
            return  # it is asked again by a worker that does not know yet who listens
        try:
            self.waiting.put_nowait(asked)
        except asyncio.QueueFull:
            answered = Answered(asked.number, codes.SERVFAIL)
            self._pubsub.tell(asked.worker, ANSWER, to_builtins(answered))


QUEUE: PerProcess[UpdateQueue] = PerProcess(UpdateQueue)


class UpdateService:
    """The service."""

    def __init__(self, context: Context, zones: ZoneService, rules: Mapping[bytes, ZoneRules]) -> None:
        self._context = context
        self._zones = zones
        self._rules = rules
        self._failing: dict[bytes, str] = {}  # why updates of a zone cannot be kept, as the log said
        row = context.row
        self._slots = {True: row.slot("dns.updates.done"), False: row.slot("dns.updates.refused")}

    def __repr__(self) -> str:
        return f"<UpdateService of {len(self._rules)} zones>"

    async def run(self) -> None:
        """Run until cancelled; what has been begun is ended before."""
        queue = QUEUE.of(self._context)
        await self._zones.is_begun.wait()
        while True:
            waiting = await queue.next()
            making = asyncio.ensure_future(self._make_all(waiting))
            try:
                await asyncio.shield(making)
            except asyncio.CancelledError:
                await making
                raise

    async def _make_all(self, waiting: Sequence[Asked]) -> None:
        for apex in dict.fromkeys([bytes.fromhex(one.zone) for one in waiting]):
            of_zone: Sequence[Asked] = [one for one in waiting if one.zone == apex.hex()]
            while of_zone:
                of_zone = await self._make(apex, of_zone)

    async def _make(self, apex: bytes, asked: Sequence[Asked]) -> Sequence[Asked]:
        """Make updates of one zone, and answer them. Return those that are for the next write."""
        zone = self._zones.find(apex)
        if zone is None:  # of a config before this one
            for one in asked:
                self._answer(one, codes.REFUSED)
            return ()
        if zone.is_unknown:
            log.warning("updates of %s are refused until its file can be read (%s)", zone.name, zone.key)
            for one in asked:
                self._answer(one, codes.SERVFAIL)
            return ()
        async with zone.lock:
            draft = _Draft(zone, self._rules[apex])
            rcodes: list[int] = []
            for one in asked:
                try:
                    if not draft.make(one):
                        break
                    rcodes.append(codes.NOERROR)
                except UpdateError as error:
                    rcodes.append(error.rcode)
                    log.info(
                        "update of %s by key %s from %s refused, %s: %s (%s)", zone.name, _key(one), one.client,
                        rcode_name(error.rcode), error, zone.updates_key,
                    )  # fmt: skip
            if draft.names:
                try:
                    await self._zones.change_by_update(zone, draft.names)
                except StoreError as error:
                    if self._failing.get(apex) != str(error):
                        log.error("updates of %s are refused, as they cannot be kept (store): %s", zone.name, error)
                    self._failing[apex] = str(error)
                    rcodes = [rcode or codes.SERVFAIL for rcode in rcodes]
                else:
                    if self._failing.pop(apex, None) is not None:
                        log.info("updates of %s can be kept again (store)", zone.name)
                    done = [one for one, rcode in zip(asked, rcodes, strict=False) if not rcode]
                    by = ", ".join(dict.fromkeys([f"key {_key(one)} from {one.client}" for one in done]))
                    serial = serial_of(zone.content, apex)
                    log.info("zone %s was updated by %s: serial %d (%s)", zone.name, by, serial, zone.updates_key)
                    if late := await self._zones.agreed(AGREED_WITHIN_S):
                        log.warning("worker %s does not serve the update of %s yet", late[0], zone.name)
        for one, rcode in zip(asked, rcodes, strict=False):
            self._answer(one, rcode)
        return asked[len(rcodes) :]

    def _answer(self, asked: Asked, rcode: int) -> None:
        self._context.row.slots[self._slots[not rcode]] += 1
        self._context.pubsub.tell(asked.worker, ANSWER, to_builtins(Answered(asked.number, rcode)))


class _Draft:
    """What updates of one zone make together, before it is kept. Attribute: `names`, those that change."""

    def __init__(self, zone: ChangingZone, rules: ZoneRules) -> None:
        self.names: dict[bytes, Sets] = {}
        self._zone = zone
        self._rules = rules
        self._size = 0

    def make(self, asked: Asked) -> bool:
        """Make an update. Return whether it was: False if it does not fit in one write with the others.

        Raises: UpdateError.
        """
        zone, apex, key = self._zone, self._zone.apex, bytes.fromhex(asked.key)
        read = read_update(b64decode(asked.data))
        if read.zone != apex:
            raise UpdateError(codes.NOTAUTH, "of another zone")
        content: Mapping[bytes, Sets] = ChainMap(self.names, zone.content)
        policies = self._rules.policies
        names = update(content, apex, read, lambda name, rtype: may_change(policies, key, name, rtype))
        if not names:
            return True
        together = {**self.names, **names}
        entries = entries_of(zone.base, apex, changed_sets(zone.content, together))
        size = sum([one.size for one in entries])
        if size > MAX_CHANGE_BYTES:
            if self.names:
                return False
            raise UpdateError(codes.REFUSED, f"it changes records of more than {MAX_CHANGE_BYTES >> 10} KiB")
        if zone.overlay.growth(entries) > max(0, self._rules.max_size - zone.overlay.size, self._size):
            raise UpdateError(
                codes.REFUSED,
                f"what updates have made of the zone takes {zone.overlay.size} of {self._rules.max_size} bytes: remove "
                f"names, or raise {zone.path}.updates_max_size",
            )
        self.names, self._size = together, max(0, zone.overlay.growth(entries))
        return True


def _key(asked: Asked) -> str:
    return to_text(bytes.fromhex(asked.key))[:-1]
