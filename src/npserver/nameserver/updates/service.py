"""The controller's side of updates: makes them, one after another, and answers once they are kept and all serve them.

Those that wait while one is made are made together: one write to the store, and one change for the workers.
"""

from __future__ import annotations

import asyncio
import logging
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import convert, to_builtins

from npserver.dns.message import codes
from npserver.dns.message.name import to_text
from npserver.dns.message.update import rcode_name
from npserver.dns.zone.content import serial_of
from npserver.errors import StoreError
from npserver.nameserver.updates.message import UpdateError, read_update
from npserver.nameserver.updates.policy import Policy, may_change
from npserver.nameserver.updates.updater import ANSWER, ASK, Answered, Asked
from npserver.nameserver.updates.zone import update

if TYPE_CHECKING:
    from npserver.nameserver.zones.service import ZoneService
    from npserver.runtime.context import Context

log = logging.getLogger("npserver.dns")

MAX_TOGETHER = 100
MAX_WAITING = 10_000  # updates of all workers
AGREED_WITHIN_S = 2.0  # all workers serve an update, else it is answered all the same: it is kept


class UpdateService:
    """The service."""

    def __init__(self, context: Context, zones: ZoneService, policies: Mapping[bytes, Sequence[Policy]]) -> None:
        self._context = context
        self._zones = zones
        self._policies = policies
        self._queue: asyncio.Queue[Asked] = asyncio.Queue(MAX_WAITING)
        row = context.row
        self._slots = {True: row.slot("dns.updates.done"), False: row.slot("dns.updates.refused")}

    def __repr__(self) -> str:
        return f"<UpdateService of {len(self._policies)} zones>"

    async def run(self) -> None:
        """Run until cancelled."""
        end = self._context.pubsub.subscribe(ASK, self._asked)
        try:
            await self._zones.is_begun.wait()
            while True:
                waiting = [await self._queue.get()]
                while len(waiting) < MAX_TOGETHER and not self._queue.empty():
                    waiting.append(self._queue.get_nowait())
                for apex in dict.fromkeys([bytes.fromhex(one.zone) for one in waiting]):
                    await self._make(apex, [one for one in waiting if one.zone == apex.hex()])
        finally:
            end()

    def _asked(self, message: Any) -> None:
        asked = convert(message, Asked)
        try:
            self._queue.put_nowait(asked)
        except asyncio.QueueFull:
            self._answer(asked, codes.SERVFAIL)

    async def _make(self, apex: bytes, asked: Sequence[Asked]) -> None:
        """Make updates of one zone, and answer them."""
        zone = self._zones.find(apex)
        if zone is None:  # of a config before this one
            for one in asked:
                self._answer(one, codes.REFUSED)
            return
        async with zone.lock:
            content, rcodes = zone.content, []
            for one in asked:
                try:
                    read = read_update(b64decode(one.data))
                    if read.zone != apex:
                        raise UpdateError(codes.NOTAUTH, "of another zone")
                    content = update(content, apex, read, self._rules(apex, bytes.fromhex(one.key)))
                    rcodes.append(codes.NOERROR)
                except UpdateError as error:
                    rcodes.append(error.rcode)
                    log.info(
                        "update of %s by key %s from %s refused, %s: %s (%s)", zone.name, _key(one), one.client,
                        rcode_name(error.rcode), error, zone.updates_key,
                    )  # fmt: skip
            if content is not zone.content:
                try:
                    await self._zones.change_by_update(zone, content)
                except StoreError as error:
                    log.error("updates of %s are refused, as they cannot be kept (store): %s", zone.name, error)
                    rcodes = [rcode or codes.SERVFAIL for rcode in rcodes]
                else:
                    done = [one for one, rcode in zip(asked, rcodes, strict=True) if not rcode]
                    by = ", ".join(dict.fromkeys([f"key {_key(one)} from {one.client}" for one in done]))
                    serial = serial_of(zone.content, apex)
                    log.info("zone %s was updated by %s: serial %d (%s)", zone.name, by, serial, zone.updates_key)
                    if late := await self._zones.agreed(AGREED_WITHIN_S):
                        log.warning("worker %s does not serve the update of %s yet", late[0], zone.name)
        for one, rcode in zip(asked, rcodes, strict=True):
            self._answer(one, rcode)

    def _rules(self, apex: bytes, key: bytes) -> Any:
        return lambda name, rtype: may_change(self._policies[apex], key, name, rtype)

    def _answer(self, asked: Asked, rcode: int) -> None:
        self._context.row.slots[self._slots[not rcode]] += 1
        self._context.pubsub.tell(asked.worker, ANSWER, to_builtins(Answered(asked.number, rcode)))


def _key(asked: Asked) -> str:
    return to_text(bytes.fromhex(asked.key))[:-1]
