"""Equal requests at once: one of them is sent to the upstream, and no client holds up another."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.protocols.caching import caching
from tests.protocols.proxying import Connection, Origin, Stage, get, until


async def test_many_requests_at_once_are_one_for_the_upstream(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        one.is_held.clear()
        asked = [asyncio.create_task(one.ask()) for _ in range(50)]
        await until(lambda: len(one.stage.context.connections) == 50)
        await until(lambda: one.waiting == 50)
        one.is_held.set()
        answers = await asyncio.gather(*asked)
        assert {answer.body for answer in answers} == {b"1"}
        assert sorted({answer.cache_status for answer in answers}) == [
            "fwd=uri-miss; stored", "fwd=uri-miss; stored; collapsed",
        ]  # fmt: skip
        assert one.count == 1
        assert one.fills == {}


async def test_what_another_worker_stores_just_before_it_is_claimed_is_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with caching(tmp_path) as one, caching(tmp_path) as other:
        other.handler._namespace = one.handler._namespace  # as that of another worker
        store = one.handler.store
        await other.ask("/a", host="a")
        hidden = [True]
        find = store.find

        def find_late(*arguments: object) -> object:
            return None if hidden and hidden.pop() else find(*arguments)

        monkeypatch.setattr(store, "find", find_late)
        assert (await one.ask("/a", host="a")).cache_status == "hit"
        assert one.count == 0


async def test_those_who_waited_for_a_private_response_ask_by_themselves(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        one.fields = b"Cache-Control: private, max-age=60\r\n"
        one.is_held.clear()
        asked = [asyncio.create_task(one.ask()) for _ in range(5)]
        await until(lambda: one.waiting == 5)
        one.is_held.set()
        answers = await asyncio.gather(*asked)
        assert sorted(answer.body for answer in answers) == [b"1", b"2", b"3", b"4", b"5"]
        assert one.files == []


async def test_a_client_that_leaves_does_not_take_the_response_from_others(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        one.is_held.clear()
        first = await one.stage.client()
        await first.send(get())
        await until(lambda: one.count == 1)
        second = asyncio.create_task(one.ask())
        await until(lambda: one.waiting == 2)
        first.reset()
        await until(lambda: one.waiting == 1)
        one.is_held.set()
        assert (await second).body == b"1"
        assert (await one.ask()).body == b"1"
        assert one.count == 1


async def test_a_slow_client_slows_down_no_other(tmp_path: Path) -> None:
    size = 8 << 20  # more than the sockets on the way hold
    async with caching(tmp_path) as one:
        one.body = b"x" * size
        slow = await one.stage.client()
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await slow.send(get())
        await until(lambda: one.count == 1)
        quick = await one.ask()
        assert len(quick.body) == size
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
        _, _, body = await slow.answer()
        assert body == one.body
        assert one.count == 1


@pytest.mark.parametrize("control", ["max-age=60", "private"], ids=["too large to store", "private"])
async def test_a_slow_client_of_a_response_that_is_not_stored_holds_the_upstream_and_gets_all(
    tmp_path: Path, control: str
) -> None:
    pieces, sent = 64, 0
    piece = bytes(range(256)) * 1024  # 256 KiB

    async def script(connection: Connection) -> None:
        nonlocal sent
        await connection.head()
        head = f"HTTP/1.1 200 OK\r\nCache-Control: {control}\r\nTransfer-Encoding: chunked\r\n\r\n"
        await connection.send(head.encode())
        for _ in range(pieces):
            await connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            sent += 1
        await connection.send(b"0\r\n\r\n")

    cache = {"directory": str(tmp_path), "max_object": "300k", "max_size": "10m"}
    async with Origin(script) as origin, Stage(origin.url, cache=cache) as stage:
        client = await stage.client()
        await client.send(get())
        await until(lambda: sent > 2)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        fill = next(iter(stage.route.handler._fills.values()))  # type: ignore[attr-defined]
        (reader,) = fill.readers
        await until(lambda: reader.is_behind)
        assert sent < pieces
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        _, _, body = await client.answer()
        assert body == piece * pieces
        assert list(tmp_path.glob("??/*")) == []
        assert list((tmp_path / ".new").iterdir()) == []
