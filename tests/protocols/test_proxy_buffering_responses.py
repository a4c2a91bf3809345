"""Responses that a proxy rule buffers for clients that read slowly.

Covers `web.handlers.proxy.response_buffer`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.protocols.buffering import LARGE, secure
from tests.protocols.proxying import WAIT_S, Connection, Origin, Stage, answering, get, ok, until


@pytest.mark.parametrize("memory", [0, 100_000, 1 << 30])
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_the_upstream_is_done_before_a_slow_client(tmp_path: Path, memory: int, is_chunked: bool) -> None:
    body = LARGE * 6

    async def script(connection: Connection) -> None:
        while await connection.head():
            if is_chunked:
                head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                await connection.send(head + b"%x\r\n%b\r\n0\r\nX-Sum: 1\r\n\r\n" % (len(body), body))
            else:
                await connection.send(ok(body))

    async with Origin(script) as origin:
        buffering = {"memory": memory, "directory": str(tmp_path)}
        async with Stage(origin.url, response_buffering=buffering) as stage:
            client = await stage.client()
            client.writer.transport.pause_reading()
            await client.send(get(fields="TE: trailers\r\nConnection: TE\r\n"))
            await until(lambda: origin.connections)
            await until(lambda: stage.loads == [0])  # the target is released
            await until(lambda: stage.proxy.upstream.targets[0].pool.idle)
            assert list(tmp_path.iterdir()) == []
            client.writer.transport.resume_reading()
            status, _, got = await client.answer()
            assert (status, got == body) == (200, True)
            assert len(origin.connections) == 1
            assert (await client.ask(get()))[2] == body


@pytest.mark.parametrize("memory", [0, 100_000, 1 << 30])
async def test_over_http2_too(certificates: Callable[..., Any], tmp_path: Path, memory: int) -> None:
    done = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.head()
        await connection.send(ok(LARGE * 6))
        done.set()
        await connection.head()

    async with Origin(script) as origin:
        buffering = {"memory": memory, "directory": str(tmp_path)}
        async with (
            secure(certificates, origin.url, response_buffering=buffering) as server,
            httpx.AsyncClient(base_url=server.url(), verify=False, http2=True) as client,
            client.stream("GET", "/") as answer,
        ):
            async with asyncio.timeout(WAIT_S):
                await done.wait()  # the client has read the head alone
            assert await answer.aread() == LARGE * 6


async def test_a_client_that_keeps_up_gets_each_piece_at_once() -> None:
    turn = asyncio.Event()

    async def events(connection: Connection) -> None:
        await connection.head()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 0\n\n")
        for number in range(1, 4):
            await turn.wait()
            turn.clear()
            await connection.send(b"data: %d\n\n" % number)

    async with Origin(events) as origin, Stage(origin.url, response_buffering=True) as stage:
        client = await stage.client()
        await client.send(get())
        await client.head()
        for number in range(4):
            assert b"data: %d\n\n" % number in await client.reader.readuntil(b"\n\n")
            turn.set()


@pytest.mark.parametrize("file", [0, 1 << 20])
async def test_the_upstream_waits_when_the_file_is_full(tmp_path: Path, file: int) -> None:
    sent = 0

    async def endless(connection: Connection) -> None:
        nonlocal sent
        await connection.head()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(LARGE) * 20))
        for _ in range(20):
            await connection.send(LARGE)
            sent += 1

    async with Origin(endless) as origin:
        buffering = {"memory": 1000, "file": file, "directory": str(tmp_path)}
        async with Stage(origin.url, response_buffering=buffering) as stage:
            client = await stage.client()
            client.writer.transport.pause_reading()
            await client.send(get())
            await until(lambda: stage.loads == [1])
            connection = next(iter(stage.context.connections))
            await until(lambda: getattr(connection.exchange.source, "_is_held", False))
            assert sent < 20
            client.writer.transport.resume_reading()
            assert (await client.answer())[2] == LARGE * 20
            assert sent == 20


@pytest.mark.parametrize("is_reset", [False, True])
async def test_a_client_that_leaves_frees_the_upstream(tmp_path: Path, is_reset: bool) -> None:
    async def endless(connection: Connection) -> None:
        await connection.head()
        await connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await connection.send(LARGE)

    async with Origin(endless) as origin:
        buffering = {"memory": 0, "file": 1 << 20, "directory": str(tmp_path)}
        async with Stage(origin.url, response_buffering=buffering) as stage:
            client = await stage.client()
            await client.send(get())
            await client.head()
            client.reset() if is_reset else client.close()
            await until(lambda: stage.loads == [0])
            await until(lambda: not stage.context.connections)


async def test_a_response_that_breaks_off_is_cut_for_the_client(tmp_path: Path) -> None:
    """RFC 9112 §8: the client must see that it is incomplete."""

    async def cut(connection: Connection) -> None:
        await connection.head()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(LARGE) * 10, LARGE * 2))

    async with Origin(cut) as origin:
        buffering = {"memory": 0, "directory": str(tmp_path)}
        async with Stage(origin.url, response_buffering=buffering) as stage:
            client = await stage.client()
            await client.send(get())
            await client.head()
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.reader.readexactly(len(LARGE) * 10)


async def test_without_a_file_it_is_kept_in_memory_and_the_upstream_waits(tmp_path: Path, caplog: Any) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    async with Origin(answering(ok(LARGE * 5))) as origin:
        buffering = {"memory": 10, "directory": str(spool)}
        async with Stage(origin.url, response_buffering=buffering) as stage:
            spool.rmdir()
            client = await stage.client()
            client.writer.transport.pause_reading()
            await client.send(get())
            await until(lambda: "(dispatch[0].response_buffering)" in caplog.text)
            assert stage.loads == [1]
            client.writer.transport.resume_reading()
            assert (await client.answer())[2] == LARGE * 5
            assert caplog.text.count("(dispatch[0].response_buffering)") == 1
