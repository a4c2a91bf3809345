"""Secondaries that are told of changes (NOTIFY, RFC 1996) over a real socket: when, how often, and when in vain.

Covers `nameserver.transfers.notifying`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import dns.message
import dns.opcode
import dns.tsig
import pytest

from npserver.dns.message.tsig import TsigKey
from npserver.nameserver.transfers import notifying
from npserver.nameserver.transfers.notifying import NotifyService
from npserver.nameserver.transfers.peers import Peer
from npserver.nameserver.zones.messages import topic_of
from npserver.runtime import public_addresses
from tests.stage.worker import make_context

APEX = b"\7example\4test\0"
KEY = TsigKey(b"\3xfr\0", b"0123456789abcdef0123456789abcdef")


class Listening(asyncio.DatagramProtocol):
    """A server that answers NOTIFYs as it is told to."""

    def __init__(self, answer: Callable[[dns.message.Message], bytes | None]) -> None:
        self.answer = answer
        self.heard: list[dns.message.Message] = []
        self.arrived = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        found = dns.message.from_wire(data, keyring=dns.tsig.Key("xfr.", KEY.secret, "hmac-sha256"))
        self.heard.append(found)
        self.arrived.set()
        if (reply := self.answer(found)) is not None:
            self.transport.sendto(reply, addr)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.heard) < count:
                self.arrived.clear()
                await self.arrived.wait()


def good(notify: dns.message.Message) -> bytes:
    return dns.message.make_response(notify).to_wire()


@contextlib.asynccontextmanager
async def notified(
    answer: Callable[[dns.message.Message], bytes | None],
    key: TsigKey | None = None,
    signed: Sequence[bytes] = (),
    latest: Mapping[str, Any] = MappingProxyType({}),
) -> AsyncIterator[tuple[Listening, Any]]:
    loop = asyncio.get_running_loop()
    transport, secondary = await loop.create_datagram_endpoint(lambda: Listening(answer), ("127.0.0.1", 0))
    context = make_context(loop)
    context.pubsub.latest.update(latest)
    peer = Peer("127.0.0.1", transport.get_extra_info("sockname")[1], "dns_zones[0].notify", key)
    service = NotifyService(context, {APEX: [peer]}, signed)
    running = asyncio.create_task(service.run())
    try:
        yield secondary, context
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        transport.close()


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "signed"])
async def test_a_secondary_is_told_at_start_and_after_changes(key: TsigKey | None) -> None:
    async with notified(good, key) as (secondary, context):
        for count in range(1, 4):
            await secondary.until(count)
            context.pubsub.publish(topic_of(APEX), None)
        first = secondary.heard[0]
        assert (first.opcode(), first.question[0].name.to_text()) == (dns.opcode.NOTIFY, "example.test.")
        assert first.had_tsig == (key is not None)


async def test_it_is_told_of_other_keys_days_and_published_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifying, "TAKEN_S", 0.05)
    monkeypatch.setattr(notifying, "LOOK_S", 0.05)
    async with notified(good, signed=[APEX]) as (secondary, context):
        await secondary.until(1)
        for number, (topic, message) in enumerate(
            [
                ("dnssec:versions", {"example.test.": 2}),  # the first of the topic: keys that have just been made
                (public_addresses.TOPIC, {"serials": {"example.test.": {"number": 8, "digest": 1}}}),
            ]
        ):
            context.pubsub.publish(topic, message)
            await secondary.until(2 + number)
            context.pubsub.publish(topic, message)  # nothing has changed
        now = context.wall_clock()
        context.wall_clock = lambda: now + 86_400.0
        await secondary.until(4)
        assert len(secondary.heard) == 4


async def test_what_is_known_at_the_start_is_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a reload: the message at start is for it."""
    monkeypatch.setattr(notifying, "TAKEN_S", 0.05)
    async with notified(good, signed=[APEX], latest={"dnssec:versions": {"example.test.": 2}}) as (secondary, context):
        await secondary.until(1)
        context.pubsub.publish("dnssec:versions", {"example.test.": 3})
        await secondary.until(2)
        assert len(secondary.heard) == 2


async def test_a_change_while_it_does_not_answer_is_told_of_once_it_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that is sent again may come before all workers serve the change."""
    monkeypatch.setattr(notifying, "WAITS_S", (0.05,) * 3)
    monkeypatch.setattr(notifying, "TAKEN_S", 0.5)
    answers: list[Callable[[dns.message.Message], bytes | None]] = [lambda notify: None]
    async with notified(lambda notify: answers.pop()(notify) if answers else good(notify)) as (secondary, context):
        await secondary.until(1)
        begun = context.loop.time()
        context.pubsub.publish("dnssec:versions", {"example.test.": 2})
        await secondary.until(3)
        assert context.loop.time() - begun > 0.5


async def test_it_is_told_again_until_it_answers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notifying, "WAITS_S", (0.05,) * 5)
    answers = [lambda notify: None, lambda notify: b"junk", lambda notify: b"\0\0" + good(notify)[2:], good]
    async with notified(lambda notify: answers.pop(0)(notify) if answers else good(notify)) as (secondary, context):
        await secondary.until(4)
        context.pubsub.publish(topic_of(APEX), None)
        await secondary.until(5)
    assert not caplog.messages


async def test_one_that_does_not_answer_or_refuses_is_told_of_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notifying, "WAITS_S", (0.02,) * 3)
    monkeypatch.setattr(notifying, "SETTLE_S", 0.0)
    replies: list[bytes | None] = [None] * 3

    def answer(notify: dns.message.Message) -> bytes | None:
        if replies:
            return replies.pop()
        reply = dns.message.make_response(notify)
        reply.set_rcode(5)
        return reply.to_wire()

    async with notified(answer) as (secondary, context):
        await secondary.until(3)
        context.pubsub.publish(topic_of(APEX), None)
        async with asyncio.timeout(20):
            while len(caplog.messages) < 2:
                secondary.arrived.clear()
                context.pubsub.publish(topic_of(APEX), None)
                await secondary.arrived.wait()
    told = "is not told of the changes of zone example.test.: {} (dns_zones[0].notify)"
    assert told.format("no answer") in caplog.messages[0]
    assert told.format("it refuses (REFUSED)") in caplog.messages[1]
