"""Tells secondaries of changes (NOTIFY, RFC 1996), in the controller: after each change of a serial, and at start.

Those are changes of the records, the keys, the day of the signatures, and the published names.

A message is sent again until it is answered, with growing pauses. Changes that come meanwhile are told by one message.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from npserver.dns.message import codes
from npserver.dns.message.name import to_text
from npserver.dns.message.notify import make_notify, notify_rcode
from npserver.dns.message.tsig import TsigError, sign, verify
from npserver.dns.zone.signing import DAY_S
from npserver.errors import reason_of
from npserver.nameserver.dnssec.signer import TOPIC as SIGNED
from npserver.nameserver.transfers.peers import Peer
from npserver.nameserver.zones.messages import read_published, taken_slot, topic_of
from npserver.runtime.public_addresses import TOPIC as PUBLISHED

if TYPE_CHECKING:
    from npserver.runtime.context import Context

log = logging.getLogger("npserver.dns")

NO_ANSWER = "no answer"
WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)  # for an answer, before the message is sent again
SETTLE_S = 0.1  # after a change, and between two looks whether all workers serve it: a secondary asks at once
SERVED_WITHIN_S = 5.0
TAKEN_S = 2.0  # workers look at the clock, and compile published names, within that time
LOOK_S = 1.0  # between two looks at the clock
MAX_TARGETS = 100  # that are told at a time


class NotifyService:
    """The service. `targets`: whom to tell of which zone, by apex. `signed`: those of them that are signed here."""

    __slots__ = ("_context", "_due", "_serials", "_settled_at", "_signed", "_slot", "_targets", "_turns", "_versions")

    def __init__(
        self, context: Context, targets: Mapping[bytes, Sequence[Peer]], signed: Collection[bytes] = ()
    ) -> None:
        self._context = context
        self._targets = targets
        self._signed = signed
        self._serials: dict[str, dict[bytes, Any]] = {}  # by topic: what stands for the serials of zones
        self._settled_at: dict[bytes, float] = {}  # loop time from which all workers have taken a change
        self._due: dict[bytes, list[asyncio.Event]] = {apex: [] for apex in targets}
        self._turns = asyncio.Semaphore(MAX_TARGETS)
        self._versions: dict[bytes, int] = {}  # of the last changes
        self._slot = taken_slot(context)

    def __repr__(self) -> str:
        return f"<NotifyService of {len(self._targets)} zones>"

    async def run(self) -> None:
        """Run until cancelled."""
        ends = []
        try:
            async with asyncio.TaskGroup() as group:
                for apex, peers in self._targets.items():
                    for peer in peers:
                        due = asyncio.Event()
                        due.set()
                        self._due[apex].append(due)
                        group.create_task(self._keep_telling(apex, peer, due))
                    ends.append(self._context.pubsub.subscribe(topic_of(apex), partial(self._changed, apex)))
                for topic, read in ((SIGNED, _versions_in), (PUBLISHED, _serials_in)):
                    self._serials[topic] = self._serials_of(read(self._context.pubsub.latest.get(topic)))
                    ends.append(self._context.pubsub.subscribe(topic, partial(self._heard, topic, read)))
                if self._signed:
                    group.create_task(self._watch_day())
        finally:
            for end in ends:
                end()

    def _changed(self, apex: bytes, message: Any) -> None:
        if message is not None:
            self._versions[apex] = read_published(message).after
        for due in self._due[apex]:
            due.set()

    def _heard(self, topic: str, read: Callable[[Any], Mapping[str, Any]], message: Any) -> None:
        """Keys or published names have changed, or are told of for the first time: workers may have had others."""
        before, now = self._serials[topic], self._serials_of(read(message))
        self._serials[topic] = now
        for apex in now:
            if before.get(apex) != now[apex]:
                self._changed_elsewhere(apex)

    def _serials_of(self, found: Mapping[str, Any]) -> dict[bytes, Any]:
        return {apex: found[name] for apex in self._targets if (name := to_text(apex)) in found}

    def _changed_elsewhere(self, apex: bytes) -> None:
        """Note that a serial changes in all workers, each by its own clock."""
        self._settled_at[apex] = self._context.loop.time() + TAKEN_S
        for due in self._due[apex]:
            due.set()

    async def _watch_day(self) -> None:
        """Note when signatures are those of another day."""
        day = self._today()
        while True:
            await asyncio.sleep(LOOK_S)
            if (now := self._today()) != day:
                day = now
                for apex in self._signed:
                    self._changed_elsewhere(apex)

    def _today(self) -> int:
        return int(self._context.wall_clock() // DAY_S)

    async def _keep_telling(self, apex: bytes, peer: Peer, due: asyncio.Event) -> None:
        failure = ""
        while True:
            await due.wait()
            await self._settle(apex)
            due.clear()  # all that was heard of until now is served, and told by the next message
            async with self._turns:
                reason = await self._tell(apex, peer)
            row = self._context.row
            row.slots[row.slot("dns.notify.failed" if reason else "dns.notify.sent")] += 1
            if reason and reason != failure:
                name = to_text(apex)
                log.warning("%s is not told of the changes of zone %s: %s (%s)", peer, name, reason, peer.place)
            failure = reason

    async def _settle(self, apex: bytes) -> None:
        """Wait until all workers serve the last change, of those too that come meanwhile."""
        loop = self._context.loop
        end = loop.time() + SERVED_WITHIN_S
        while True:
            await asyncio.sleep(SETTLE_S)
            version, rows = self._versions.get(apex, 0), self._context.row.board.rows[1:]
            is_late = loop.time() < self._settled_at.get(apex, 0.0) or any(row[self._slot] < version for row in rows)
            if not is_late or loop.time() > end:
                return

    async def _tell(self, apex: bytes, peer: Peer) -> str:
        """Send a message until it is answered; return why it was in vain, or "" if it was not."""
        reason = NO_ANSWER
        for wait_s in WAITS_S:
            try:
                reason = await self._send(apex, peer, wait_s)
            except OSError as error:
                reason = reason_of(error)
                await asyncio.sleep(wait_s)
                continue
            if reason != NO_ANSWER:
                break
        return reason

    async def _send(self, apex: bytes, peer: Peer, wait_s: float) -> str:
        """Send one message, and return the reason why it is not heeded, or ""."""
        message, mac = make_notify(secrets.randbelow(1 << 16), apex), b""
        sent = message
        if peer.key is not None:
            sent, mac = sign(message, peer.key, int(self._context.wall_clock()))
        replies: asyncio.Queue[bytes] = asyncio.Queue(16)
        transport, _ = await self._context.loop.create_datagram_endpoint(
            lambda: _Replies(replies), remote_addr=(peer.address, peer.port)
        )
        try:
            transport.sendto(sent)
            async with asyncio.timeout(wait_s):
                while True:
                    reply = await replies.get()
                    rcode = notify_rcode(message, reply)
                    if rcode is not None and (peer.key is None or self._is_signed(peer, reply, mac)):
                        return "" if rcode == codes.NOERROR else f"it refuses ({codes.rcode_name(rcode)})"
        except TimeoutError:
            return NO_ANSWER
        finally:
            transport.close()

    def _is_signed(self, peer: Peer, reply: bytes, mac: bytes) -> bool:
        """Whether a reply is the server's; one that refuses may be without a signature."""
        assert peer.key is not None
        try:
            verify(reply, {peer.key.name: peer.key}, int(self._context.wall_clock()), request_mac=mac)
        except TsigError as error:
            return bool(reply[3] & 0xF) and (error.is_told or error.tsig is None)
        except ValueError:
            return False
        return True


def _versions_in(message: Any) -> Mapping[str, Any]:
    return message or {}


def _serials_in(message: Any) -> Mapping[str, Any]:
    return {name: one["number"] for name, one in ((message or {}).get("serials") or {}).items()}


class _Replies(asyncio.DatagramProtocol):
    """Takes the datagrams of one socket."""

    def __init__(self, queue: asyncio.Queue[bytes]) -> None:
        self._queue = queue

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Called by asyncio."""
        with contextlib.suppress(asyncio.QueueFull):
            self._queue.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        """Called by asyncio when the port is closed: the message is sent again later."""
