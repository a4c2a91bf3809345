"""Many clients of two workers that share a cache: whatever they do, each gets whole responses, and only its own.

Paths, variants, sizes, framings, failures, changes and clients that leave come by chance, from a fixed seed. Covers
`web.handlers.proxy.cache.fill` and `web.handlers.proxy.cache.store`.
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.protocols.proxying import Connection, Origin, Stage, get, ok, until

PATHS = ("/1", "/2", "/3")
SIZES = (0, 100, 70_000, 200_000)
CONTROLS = (
    b"max-age=1",
    b"max-age=1",
    b"private",
    b"no-cache",
    b"max-age=1, stale-while-revalidate=5, stale-if-error=5",
)


class Changing:
    """An upstream whose resources change, and which fails now and then."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.versions = dict.fromkeys(PATHS, 0)

    async def script(self, connection: Connection) -> None:
        """Answer with path, version, language and an end, so that each piece of another response would be seen."""
        chance = self.chance
        while head := await connection.head():
            method, path = head.split(b" ")[:2]
            if method == b"DELETE":
                self.versions[path.decode()] += 1
                await connection.send(b"HTTP/1.1 204 No Content\r\n\r\n")
                continue
            language = b"en" if b"Accept-Language: en" in head else b"de"
            name = b"%b|%d|%b" % (path, self.versions[path.decode()], language)
            body = name + b"|" + b"z" * chance.choice(SIZES) + b"|end"
            fields = b'Vary: Accept-Language\r\nETag: "%b"\r\nCache-Control: %b\r\n' % (name, chance.choice(CONTROLS))
            kind = chance.random()
            if b'If-None-Match: "%b"' % name in head and kind < 0.6:
                await connection.send(b"HTTP/1.1 304 Not Modified\r\n" + fields + b"\r\n")
            elif kind < 0.7:
                await connection.send(ok(body, fields))
            elif kind < 0.9:
                await connection.send(b"HTTP/1.1 200 OK\r\n" + fields + b"Transfer-Encoding: chunked\r\n\r\n")
                for start in range(0, len(body), 50_000):
                    piece = body[start : start + 50_000]
                    await connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
                await connection.send(b"0\r\n\r\n")
            elif kind < 0.95:
                await connection.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 1\r\n\r\nx")
            else:
                await connection.send(ok(body, fields)[: -len(body) // 2])
                return


async def ask(stage: Stage, chance: random.Random, seen: dict[Any, int]) -> None:
    """Send a few requests over a connection, and check what they are answered with."""
    client = await stage.client()
    for _ in range(5):
        path, language = chance.choice(PATHS), chance.choice(("en", "de"))
        kind = chance.random()
        fields = f"Accept-Language: {language}\r\n"
        if kind < 0.05:
            assert (await client.ask(get(path).replace(b"GET", b"DELETE")))[0] == 204
            continue
        if kind < 0.1:
            await client.send(get(path, fields))
            client.reset()
            return
        if kind < 0.3:
            fields += chance.choice(("Cache-Control: no-cache\r\n", "Cache-Control: max-age=0\r\n"))
        try:
            status, head, body = await client.ask(get(path, fields))
        except (asyncio.IncompleteReadError, ConnectionError):
            seen["cut"] = seen.get("cut", 0) + 1
            return
        cache_status = head.partition(b"Cache-Status: npserver; ")[2].partition(b"\r\n")[0].split(b"; ttl")[0]
        seen[cache_status] = seen.get(cache_status, 0) + 1
        assert status in (200, 502, 503)
        if status == 200:
            name, _, end = body.rpartition(b"|")
            assert end == b"end"
            assert name.split(b"|")[0::2][:2] == [path.encode(), language.encode()]
            assert b'ETag: "%b"' % b"|".join(name.split(b"|")[:3]) in head
    client.close()


@pytest.mark.parametrize("seed", range(3))
async def test_each_client_gets_whole_responses_and_only_its_own(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    upstream, seen, now = Changing(chance), dict[Any, int](), [time.time()]
    cache = {"directory": str(tmp_path), "max_size": "2m", "max_object": "150k", "max_variants": 1 + seed}
    async with (
        Origin(upstream.script) as origin,
        Stage(origin.url, cache=cache) as one,
        Stage(origin.url, cache=cache) as two,
    ):
        handlers: list[Any] = [stage.route.handler for stage in (one, two)]
        for stage in (one, two):
            stage.context.wall_clock = lambda: now[0]
        for _ in range(12):
            await asyncio.gather(*[ask(chance.choice((one, two)), chance, seen) for _ in range(10)])
            now[0] += chance.choice((0, 0.5, 2))
        await until(lambda: not any(handler._fills for handler in handlers))
        await until(lambda: not any(handler._is_making_room for handler in handlers))
        assert list((tmp_path / ".new").iterdir()) == []
        files = list(tmp_path.glob("??/*"))
        counted = sum(handler.context.row.slots[handler.store.bytes_slot] for handler in handlers)
        assert counted == sum(file.stat().st_size for file in files)
    for kind in (b"hit", b"fwd=uri-miss; stored", b"fwd=stale; fwd-status=304", b"fwd=uri-miss; stored; collapsed"):
        assert seen.get(kind), f"no {kind!r} in {seen}"
