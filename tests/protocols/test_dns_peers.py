"""Other name servers over real sockets: primaries that lie, stall, break off and sign wrongly.

Covers `nameserver.transfers.client`, `nameserver.transfers.peers`, `nameserver.transfers.secondary`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from npserver.dns.message import codes
from npserver.dns.message.query import Query, parse_query
from npserver.dns.message.tsig import StreamSigner, TsigKey, verify
from npserver.dns.zone.content import Content, SetChange, ZoneChange, with_serial
from npserver.dns.zone.incoming import Received, TransferError
from npserver.dns.zone.transfer import transfer
from npserver.nameserver.transfers import client
from npserver.nameserver.transfers.client import fetch
from npserver.nameserver.transfers.kept import KeptZone
from npserver.nameserver.transfers.peers import Peer
from npserver.nameserver.transfers.secondary import Secondary, SecondaryZone
from npserver.store.directory import DirectoryStore
from npserver.store.files import StoreFiles
from tests.stage.nameserver import ask, processor_of
from tests.stage.serving import forgiving
from tests.stage.worker import make_context
from tests.unit.dns.zone.test_incoming import message, normal, record, soa
from tests.unit.dns.zone.test_transfer import APEX, change, changed, content_of, tables_of

KEY = TsigKey(b"\3xfr\0", b"0123456789abcdef0123456789abcdef")
OTHER = TsigKey(b"\3xfr\0", b"another secret, which is as long")
CHANCE = random.Random(7)
FIRST = with_serial(content_of(1, CHANCE), APEX, 5)
SECOND = changed(FIRST, 9, CHANCE)

#: Returns the messages that answer a transfer; each is sent with its length.
Answer = Callable[[Query], list[bytes]]


class FakePrimary:
    """A primary whose transfers are those of a script."""

    def __init__(self, answer: Answer, key: TsigKey | None = None, serial: int = 9) -> None:
        self.answer = answer
        self.key = key
        self.serial = serial
        self.asked: list[str] = []
        self.is_silent = False
        self.running: set[Any] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.running.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            while True:
                data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                query = parse_query(data)
                assert isinstance(query, Query)
                self.asked.append(codes.type_name(query.qtype))
                if query.qtype == codes.SOA:
                    tables = tables_of(with_serial(SECOND, APEX, self.serial))
                    found = [ask(processor_of(tables, stream=True), plain(query))]
                else:
                    found = list(self.answer(query))
                signer = None
                if query.is_signed and self.key is not None:
                    signer = StreamSigner(self.key, verify(data, {KEY.name: KEY}, int(time.time())).mac)
                for one in found:
                    assert one is not None
                    sent = one if signer is None else signer.sign(one, int(time.time()))
                    writer.write(len(sent).to_bytes(2, "big") + sent)
                await writer.drain()
                if self.is_silent:
                    await asyncio.Event().wait()
                if query.qtype != codes.SOA:
                    break


def plain(query: Query) -> bytes:
    """The query without its signature."""
    return query.data[:10] + b"\0\0" + query.data[12 : query.end]


@contextlib.asynccontextmanager
async def primary(answer: Answer, **options: Any) -> AsyncIterator[tuple[FakePrimary, Peer]]:
    fake = FakePrimary(answer, **options)
    server = await asyncio.start_server(forgiving(fake.serve), "127.0.0.1", 0)
    try:
        yield fake, Peer("127.0.0.1", server.sockets[0].getsockname()[1], "dns_zones[0].primary")
    finally:
        server.close()
        for one in fake.running:
            one.cancel()
        await asyncio.gather(*fake.running, return_exceptions=True)


def right(query: Query) -> list[bytes]:
    return list(transfer(tables_of(SECOND), query, [change(FIRST, SECOND)]))


def get(peer: Peer, content: Content | None = None, key: TsigKey | None = None) -> Awaitable[Received]:
    return fetch(Peer(peer.address, peer.port, peer.place, key), APEX, content, time.time)


async def test_the_whole_zone_then_its_changes_then_nothing() -> None:
    async with primary(right) as (fake, peer):
        for content, kinds, is_incremental in ((None, ["SOA", "AXFR"], False), (FIRST, ["SOA", "IXFR"], True)):
            found = await get(peer, content)
            assert found.content is not None
            assert normal(found.content) == normal(SECOND)
            assert (found.serial, found.is_incremental) == (9, is_incremental)
            assert fake.asked == kinds
            fake.asked.clear()
        assert await get(peer, SECOND) == Received(None, 9)
        assert await get(peer, with_serial(SECOND, APEX, 11)) == Received(None, 9)
        assert fake.asked == ["SOA", "SOA"]


async def test_a_primary_that_does_no_ixfr_is_asked_for_the_zone() -> None:
    def answer(query: Query) -> list[bytes]:
        refused = [query.data[:2] + b"\x80\x04\0\1" + bytes(6) + query.question]
        return refused if query.qtype == codes.IXFR else right(query)

    async with primary(answer) as (fake, peer):
        found = await get(peer, FIRST)
        assert found.content is not None
        assert normal(found.content) == normal(SECOND)
        assert fake.asked == ["SOA", "IXFR", "AXFR"]


async def test_changes_that_do_not_fit_are_followed_by_the_whole_zone() -> None:
    wrong = SetChange(b"\1q" + APEX, codes.A, (300, (b"zzzz",)), None)
    sets = (*change(FIRST, SECOND).sets, wrong)

    def answer(query: Query) -> list[bytes]:
        return list(transfer(tables_of(SECOND), query, [ZoneChange(5, 9, sets)]))

    async with primary(answer) as (fake, peer):
        found = await get(peer, FIRST)
        assert found.content is not None
        assert (normal(found.content), found.is_incremental) == (normal(SECOND), False)
        assert fake.asked == ["SOA", "IXFR", "AXFR"]


WRONG: dict[str, Answer] = {
    "it ends the connection too early": lambda query: [message(query.data, soa(9))],
    "another id": lambda query: [bytes((query.data[0] ^ 1,)) + right(query)[0][1:]],
    "it answers another question": lambda query: [right(query)[0].replace(b"example", b"exbmple", 1)],
    "shorter than a header": lambda query: [b"xx"],
    "it sends a malformed message": lambda query: [right(query)[0][:-5]],
    "it refuses the transfer": lambda query: [message(query.data, flags=0x8005)],
    "an SOA record in the middle": lambda query: [message(query.data, soa(9), record(1, b"abcd"), soa(8))],
    "a message without records": lambda query: [message(query.data, soa(9))] + [message(query.data)] * 9,
}


@pytest.mark.parametrize("expected", WRONG)
async def test_a_transfer_that_is_wrong_is_none(expected: str) -> None:
    async with primary(WRONG[expected]) as (_, peer):
        with pytest.raises(TransferError, match=expected):
            await get(peer)


async def test_an_endless_transfer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("npserver.dns.zone.incoming.MAX_RECORDS", 5000)

    def answer(query: Query) -> list[bytes]:
        return [message(query.data, soa(9)), *[message(query.data, *[record(1, b"abcd")] * 100)] * 100]

    async with primary(answer) as (_, peer):
        with pytest.raises(TransferError, match="more than 5000 records"):
            await get(peer)


async def test_a_silent_or_slow_primary_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "IDLE_S", 0.2)
    async with primary(lambda query: [message(query.data, soa(9))]) as (fake, peer):
        fake.is_silent = True
        with pytest.raises(TransferError, match=r"it sends nothing for 0\.2 s"):
            await get(peer)
    monkeypatch.setattr(client, "TRANSFER_S", 0.2)
    monkeypatch.setattr(client, "IDLE_S", 30)
    async with primary(lambda query: [message(query.data, soa(9))]) as (fake, peer):
        fake.is_silent = True
        with pytest.raises(TransferError, match=r"it does not end the transfer within 0\.2 s"):
            await get(peer)


async def test_a_primary_that_is_not_there_is_told(free_port: Callable[[], int]) -> None:
    with pytest.raises(TransferError, match="it cannot be reached: connection refused"):
        await get(Peer("127.0.0.1", free_port(), ""))


class TestSigned:
    """RFC 8945 §5.3."""

    async def test_a_signed_transfer_is_taken(self) -> None:
        async with primary(right, key=KEY) as (_, peer):
            for content in (None, FIRST):
                found = await get(peer, content, KEY)
                assert found.content is not None
                assert normal(found.content) == normal(SECOND)

    async def test_another_secret_is_told(self) -> None:
        async with primary(right, key=OTHER) as (_, peer):
            with pytest.raises(TransferError, match="its answer is not signed rightly: its signature is wrong"):
                await get(peer, None, KEY)

    async def test_without_a_signature_nothing_is_taken(self) -> None:
        async with primary(right) as (_, peer):
            with pytest.raises(TransferError, match="its answer is not signed rightly"):
                await get(peer, None, KEY)

    async def test_a_refusal_of_our_signature_is_told(self) -> None:
        def refuse(query: Query) -> list[bytes]:
            return []

        async with primary(refuse, key=KEY) as (_, peer):
            with pytest.raises(TransferError, match="it ends the connection too early"):
                await get(peer, None, KEY)


async def test_a_zone_that_nobody_confirms_expires(
    free_port: Callable[[], int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    context = make_context(asyncio.get_running_loop())
    now = [1_000_000.0]
    context.wall_clock = lambda: now[0]
    peer = Peer("127.0.0.1", free_port(), "dns_zones[0].primary")
    zone = SecondaryZone(APEX, "dns_zones[0].primary", [peer], KeptZone(APEX), FIRST, 1, now[0])
    served: list[Content] = []

    def publish(zone: SecondaryZone, content: Content) -> None:
        zone.content = content
        served.append(content)

    store = DirectoryStore(StoreFiles(str(tmp_path)))
    one = Secondary(context, store, zone, publish, lambda: None, asyncio.Semaphore())
    pauses = []
    for passed in (0, 604_000, 604_799, 604_801):  # the SOA says a week
        now[0] = 1_000_000.0 + passed
        pauses.append(await one._refresh())
    assert pauses == [600, 600, 1, 8]
    assert served == [{}]
    assert zone.serial == 0
    assert "zone example.test. has expired, no primary has confirmed it for 604800 s: " in caplog.text
    async with primary(right) as (_, there):
        zone.primaries = [there]
        assert await one._refresh() == 3600
    assert normal(zone.content) == normal(SECOND)


# ── NOTIFY ──
