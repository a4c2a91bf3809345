"""A stage for the response cache: an upstream whose answers a test writes, and whose requests it counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.protocols.proxying import Connection, Origin, Stage, get, ok, until

FRESH = b"Cache-Control: max-age=60\r\n"


class Caching:
    """A proxy rule with a cache, and the upstream behind it.

    Attributes: `fields`, `body`, `answer`, `once` of the next answers, `heads` of the requests that came.
    """

    def __init__(self, directory: Path, **cache: Any) -> None:
        self.fields = FRESH
        self.body: bytes | None = None  # None: the number of the request
        self.answer = b""  # whole, instead of `fields` and `body`
        self.once: list[bytes] = []  # whole, each for one request
        self.heads: list[bytes] = []
        self.is_held = asyncio.Event()  # set: answers are sent
        self.is_held.set()
        self.directory = directory
        self.cache = {"directory": str(directory), **cache}
        self.stage: Stage
        self._handler: Any = None
        self.now = time.time()

    async def script(self, connection: Connection) -> None:
        """Answer the requests of a connection."""
        while head := await connection.head():
            await connection.body(head)
            self.heads.append(head)
            number = len(self.heads)
            await self.is_held.wait()
            body = b"%d" % number if self.body is None else self.body
            once = self.once.pop(0) if self.once else b""
            await connection.send(once or self.answer or ok(body, self.fields))

    async def ask(self, path: str = "/", fields: str = "", method: str = "GET", host: str = "site.test") -> Answer:
        """Ask for a path on a connection of its own."""
        data = get(path, fields, host).replace(b"GET", method.encode(), 1)
        answer = Answer(*await self.stage.ask(data, is_head=method == "HEAD"))
        if self.is_held.is_set():
            await until(lambda: not self.fills)  # on a disk a response is stored a little later
        return answer

    @property
    def handler(self) -> Any:
        """The rule's handler."""
        return self._handler

    @property
    def fills(self) -> dict[str, Any]:
        """The responses that are being received."""
        found: dict[str, Any] = self.handler._fills
        return found

    @property
    def waiting(self) -> int:
        """How many requests wait for them."""
        return sum(len(fill.readers) for fill in self.fills.values())

    @property
    def count(self) -> int:
        """How many requests have reached the upstream."""
        return len(self.heads)

    @property
    def files(self) -> list[Path]:
        """The files of whole responses."""
        return sorted(one for one in self.directory.glob("??/*") if one.is_file())

    def pass_time(self, seconds: float) -> None:
        """Let the time of day go on."""
        self.now += seconds


class Answer:
    """What a client has received."""

    def __init__(self, status: int, head: bytes, body: bytes) -> None:
        self.status, self.head, self.body = status, head, body

    def field(self, name: str) -> str:
        """Return the value of a field; "" for none."""
        for line in self.head.decode("latin-1").split("\r\n"):
            key, _, value = line.partition(": ")
            if key.lower() == name.lower():
                return value
        return ""

    @property
    def cache_status(self) -> str:
        """What the cache says of it, without the time left."""
        return self.field("Cache-Status").removeprefix("npserver; ").partition("; ttl=")[0]


@asynccontextmanager
async def caching(
    directory: Path, *, rule: dict[str, Any] | None = None, config: dict[str, Any] | None = None, **cache: Any
) -> AsyncIterator[Caching]:
    """Yield a rule with a cache; `rule`, `config`: further keys of the rule and the config, `cache`: of the cache."""
    one = Caching(directory, **cache)
    async with Origin(one.script) as origin, Stage(origin.url, config=config, cache=one.cache, **(rule or {})) as stage:
        one.stage = stage
        one._handler = stage.route.handler
        stage.context.wall_clock = lambda: one.now
        yield one
