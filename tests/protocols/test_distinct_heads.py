"""Heads that all differ, and are as long as the limits allow: what is remembered of them is bounded in bytes."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from tests.protocols.proxying import Connection, Origin, Stage, answering, get, ok

COUNT = 100
MOST_BYTES = 1 << 19  # that may be kept of them all; one of them has 8 or 30 KB

REQUESTS: dict[str, Callable[[int], bytes]] = {
    "path": lambda number: get(f"/{number}/{'p' * 7900}"),
    "query": lambda number: get(f"/?{number}={'q' * 7900}"),
    "field": lambda number: get("/", f"X-A: {number}{'v' * 30000}\r\n"),
    "name of a field": lambda number: get("/", f"x{number}{'n' * 30000}: v\r\n"),
    "options of Connection": lambda number: get(
        "/", f"Connection: {','.join([f'{number}-{option:025}' for option in range(1000)])}\r\n"
    ),
    "client of a trusted proxy": lambda number: get("/", f"X-Forwarded-For: {number}{'a' * 30000}\r\n"),
    "cookie": lambda number: get("/", f"Cookie: a={number}{'c' * 30000}\r\n"),
    "codings": lambda number: get("/", f"Accept-Encoding: gzip, {number}{'c' * 30000}\r\n"),
}


@pytest.fixture
def kept() -> Iterator[Callable[[], int]]:
    """Return the bytes that are in use, and were not at the first call."""
    tracemalloc.start()
    before: list[int] = []

    def measure() -> int:
        gc.collect()
        before.append(tracemalloc.get_traced_memory()[0])
        return before[-1] - before[0]

    yield measure
    tracemalloc.stop()


@pytest.mark.parametrize("make", REQUESTS.values(), ids=REQUESTS)
async def test_requests(make: Callable[[int], bytes], kept: Callable[[], int]) -> None:
    async with Origin(answering(ok())) as origin:
        async with Stage(origin.url, config={"trusted_proxies": ["127.0.0.1"]}) as stage:
            client = await stage.client()
            assert (await client.ask(make(COUNT)))[0] == 200
            kept()
            for number in range(COUNT):
                for _ in range(2):  # much is remembered when it comes again
                    assert (await client.ask(make(number)))[0] == 200
                origin.connections[0].seen = b""
            assert kept() < MOST_BYTES


async def test_responses(kept: Callable[[], int]) -> None:
    async def respond(connection: Connection) -> None:
        while head := await connection.head():
            connection.seen = b""
            await connection.send(ok(b"ok", b"X-A: %b%b\r\n" % (head.split(b" ", 2)[1], b"v" * 30000)))

    async with Origin(respond) as origin, Stage(origin.url) as stage:
        client = await stage.client()
        assert (await client.ask(get("/")))[0] == 200
        kept()
        for number in range(COUNT):
            for _ in range(2):
                assert (await client.ask(get(f"/{number}")))[0] == 200
        assert kept() < MOST_BYTES
