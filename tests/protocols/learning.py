"""A site with a network that learns, and clients at addresses of their own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.stage.site import Client, Site, site

BAD, GOOD = "127.0.0.9", "127.0.0.1"
GATE = {"handler": "respond", "path": "/gate", "body": "open", "deny": "n"}
STATUS = {"handler": "status", "path": "/status"}


@asynccontextmanager
async def learning(
    learn: dict[str, Any], *rules: dict[str, Any], tmp_path: Path, entry: dict[str, Any] | None = None, **config: Any
) -> AsyncIterator[Site]:
    networks = {"n": {"learn": learn, "except": GOOD, **(entry or {})}}
    async with site(GATE, STATUS, *rules, networks=networks, store=str(tmp_path / "store"), **config) as found:
        yield found


async def connect(site: Site, address: str = BAD) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", site.port, local_addr=(address, 0)))


async def status(site: Site, path: str, address: str = BAD, **fields: str) -> int:
    client = await connect(site, address)
    try:
        return (await client.ask(path, **fields)).status
    finally:
        client.close()


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await is_so():
            await asyncio.sleep(0.01)


async def at_end(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the server closes, or resets, a connection."""
    async with asyncio.timeout(30):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def bans(site: Site) -> int:
    """Return how many the status page tells of."""
    found = json.loads((await site.ask("/status?format=json")).body)["networks"]
    return int(found[0]["size"])


async def is_now(asked: Awaitable[int], expected: int) -> bool:
    return await asked == expected
