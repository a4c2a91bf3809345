"""The status page, live: streams of server-sent events, over HTTP/1.1, HTTP/2 and through a proxy.

Covers `web.handlers.status.live`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from npserver.embed import Server, serve
from tests.stage.programs import needs

STATUS = {"handler": "status", "path": "/status"}
DEADLINE_S = 30.0

pytestmark = needs("curl")


class Viewer:
    """curl, which shows a stream."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        """Return the next line; "" at the end."""
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            return (await self.process.stdout.readline()).decode()

    async def event(self) -> dict[str, str]:
        """Return the sections of the next event. Raises: EOFError at the end."""
        while line := await self.line():
            if line.startswith("data: "):
                found: dict[str, str] = json.loads(line[6:])
                return found
        raise EOFError

    async def ended(self) -> int:
        """Wait for the end, and return curl's exit status: 0 for a stream that was ended as it should be."""
        while await self.line():
            pass
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.wait()


@asynccontextmanager
async def viewer(url: str, *options: str) -> AsyncIterator[Viewer]:
    process = await asyncio.create_subprocess_exec(
        "curl", "-sN", *options, url, stdout=asyncio.subprocess.PIPE, limit=1 << 20
    )
    try:
        yield Viewer(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def config(*rules: dict[str, Any], **status: Any) -> dict[str, Any]:
    listen = [{"name": "web", "uri": "http://127.0.0.1:0", "http2": True}]
    return {"listen": listen, "dispatch": [{**STATUS, **status}, *rules]}


def events_of(server: Server) -> str:
    return f"{server.url()}/status?format=events"


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1", "--http2-prior-knowledge"])
async def test_a_stream_begins_with_all_and_goes_on_with_what_has_changed(version: str) -> None:
    hello = {"handler": "respond", "path": "/hello", "body": "hello"}
    async with serve(config(hello), shutdown_s=5) as server, viewer(events_of(server), version) as one:
        assert await one.line() == "retry: 1000\n"
        first = await one.event()
        assert first["up"].startswith("up for ")
        assert "/hello" in first["listeners"]
        second = await one.event()
        assert "up" in second
        assert "listeners" not in second, "it has not changed"
        async with viewer(f"{server.url()}/hello") as other:
            assert await other.line() == "hello"
        while "requests per second" not in (await one.event()).get("traffic", ""):
            pass


async def test_the_fields_forbid_buffering_and_storing() -> None:
    async with serve(config(), shutdown_s=5) as server, viewer(events_of(server), "-i") as one:
        head = []
        while (line := await one.line()) != "\r\n":
            head.append(line.strip())
        assert "Content-Type: text/event-stream" in head
        assert "Cache-Control: no-store" in head
        assert "X-Accel-Buffering: no" in head


async def test_events_pass_a_proxy_at_once() -> None:
    async with serve(config(), shutdown_s=5) as origin:
        proxy = {"handler": "proxy", "path": "/status", "proxy_pass": origin.url(), "gzip": True}
        middle = {"listen": ["http://127.0.0.1:0"], "dispatch": [proxy]}
        async with (
            serve(middle, shutdown_s=5) as server,
            viewer(f"{server.url()}/status?format=events", "--compressed") as one,
        ):
            assert "up" in await one.event()
            assert "up" in await one.event()


async def test_viewers_are_bounded_and_one_who_leaves_makes_room() -> None:
    async with serve(config(viewers=2), shutdown_s=5) as server:
        async with viewer(events_of(server)) as one, viewer(events_of(server)) as two:
            await one.event()
            await two.event()
            async with viewer(events_of(server), "-o", "/dev/null", "-w", "%{http_code}") as three:
                assert await three.line() == "503"
        while True:  # the server sees that they have gone when it writes to them
            async with viewer(events_of(server), "-f") as four:
                if await four.line() == "retry: 1000\n":
                    break
            await asyncio.sleep(0)


async def test_streams_end_at_a_reload_with_the_rules_that_they_had() -> None:
    async with serve(config(), shutdown_s=5) as server, viewer(events_of(server)) as one:
        await one.event()
        await server.reload(config(deny=["127.0.0.1"]) | {"listen": config()["listen"]})
        assert await one.ended() == 0
        async with viewer(events_of(server), "-o", "/dev/null", "-w", "%{http_code}") as again:
            assert await again.line() == "403"


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
async def test_a_shutdown_does_not_wait_for_streams(version: str) -> None:
    serving = serve(config(), shutdown_s=25)
    server = await serving.__aenter__()
    async with viewer(events_of(server), version) as one:
        await one.event()
        stopping = asyncio.ensure_future(serving.__aexit__(None, None, None))
        assert await one.ended() == 0
        async with asyncio.timeout(15):
            await stopping


async def test_head_asks_without_a_stream() -> None:
    async with serve(config(viewers=1), shutdown_s=5) as server:
        for _ in range(3):
            async with viewer(events_of(server), "-I") as one:
                assert await one.line() == "HTTP/1.1 200 OK\r\n"
                assert await one.ended() == 0
