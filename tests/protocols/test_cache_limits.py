"""The limits of the response cache, and a directory that cannot be used."""

from __future__ import annotations

import asyncio
import os
import re
import resource
from pathlib import Path
from typing import Any

import pytest

from tests.protocols.caching import FRESH, caching
from tests.protocols.proxying import Connection, Origin, Stage, get, until


async def test_a_response_larger_than_max_object_is_passed_on_whole(tmp_path: Path) -> None:
    async with caching(tmp_path, max_object="10k", max_size="1m") as one:
        one.body = b"x" * 20_000
        answer = await one.ask()
        assert (answer.body, answer.cache_status) == (one.body, "fwd=uri-miss")
        body = b"1388\r\n" + b"y" * 5000 + b"\r\n"
        one.answer = b"HTTP/1.1 200 OK\r\n" + FRESH + b"Transfer-Encoding: chunked\r\n\r\n" + body * 10 + b"0\r\n\r\n"
        assert len((await one.ask("/chunked")).body) == 50_000
        assert one.files == []
        assert list((tmp_path / ".new").iterdir()) == []


async def test_the_cache_stays_within_its_size(tmp_path: Path) -> None:
    async with caching(tmp_path, max_object="10k", max_size="100k", max_entries=30) as one:
        one.body = b"x" * 9000
        store = one.handler.store
        for number in range(40):
            await one.ask(f"/{number}")
            await until(lambda: not one.handler._is_making_room)
            assert sum(file.stat().st_size for file in one.files) <= 100 << 10
        assert len(one.files) >= 9
        assert one.stage.context.row.slots[store.bytes_slot] == sum(file.stat().st_size for file in one.files)
        assert one.stage.context.row.slots[store.entries_slot] == len(one.files)
        one.body = b""
        for number in range(100):
            await one.ask(f"/empty/{number}")
            await until(lambda: not one.handler._is_making_room)
            assert len(one.files) <= 30


async def test_a_directory_that_cannot_be_used_costs_the_cache_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with caching(tmp_path) as one:
        tmp_path.chmod(0o777)  # once it runs: `check` finds it before
        assert [(await one.ask()).body for _ in range(3)] == [b"1", b"2", b"3"]
    assert len(re.findall(r"cannot be stored in .*: .* \(dispatch\[0\].cache.directory", caplog.text)) == 1
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_full_disk_costs_the_cache_only_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_chunked: bool
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with caching(tmp_path) as one:
        one.body = b"x" * 20_000
        if is_chunked:
            head = b"HTTP/1.1 200 OK\r\n" + FRESH + b"Transfer-Encoding: chunked\r\n\r\n"
            one.answer = head + b"4e20\r\n" + one.body + b"\r\n0\r\n\r\n"
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        try:
            assert [(await one.ask(f"/{number}")).body == one.body for number in range(3)] == [True] * 3
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert one.files == []
        assert (
            len(re.findall(r"cannot be stored in .*: file too large \(dispatch\[0\].cache.directory", caplog.text)) == 1
        )
        assert [(await one.ask("/0")).body == one.body for _ in range(2)] == [True] * 2


async def test_a_response_that_the_upstream_cuts_short_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(connection: Connection) -> None:
        await connection.head()
        await connection.send(b"HTTP/1.1 200 OK\r\n" + FRESH + b"Content-Length: 10\r\n\r\nhalf")
        await hold.wait()

    hold = asyncio.Event()
    async with Origin(script) as origin, Stage(origin.url, cache={"directory": str(tmp_path)}) as stage:
        clients = [await stage.client() for _ in range(3)]
        for client in clients:
            await client.send(get())
        handler: Any = stage.route.handler
        await until(lambda: [len(fill.readers) for fill in handler._fills.values()] == [3])
        hold.set()
        await until(lambda: not handler._fills)
    assert (
        len(re.findall(r"200 for GET / from .* cut short: upstream .*\(dispatch\[0\].proxy_pass\)", caplog.text)) == 1
    )


async def test_nothing_is_left_open(tmp_path: Path) -> None:
    async with caching(tmp_path, stale_on_error="1h") as one:
        await one.ask()
        before = len(os.listdir("/proc/self/fd"))
        client = await one.stage.client()
        for number in range(20):
            path = f"/{number}"
            one.body = b"x" * 100_000
            await client.ask(get(path))
            await client.ask(get(path, "Cache-Control: no-cache\r\n"))
            one.once = [b"HTTP/1.1 200 OK\r\nCache-Control: private\r\nContent-Length: 3\r\n\r\nown"]
            await client.ask(get(path + "/private"))
            one.once = [b"HTTP/1.1 503 X\r\nContent-Length: 3\r\n\r\nbad"]
            assert (await client.ask(get(path, "Cache-Control: no-cache\r\n")))[0] == 200
            one.once = [b"nonsense\r\n\r\n"]
            assert (await client.ask(get(path + "/nonsense")))[0] == 502
        await until(lambda: not one.fills)
        client.close()
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before + 2)
        assert list((tmp_path / ".new").iterdir()) == []
