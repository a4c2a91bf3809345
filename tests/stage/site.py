"""An npserver with HTTP rules in this process and loop, and a client that keeps responses as they are sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from npserver.embed import Server, serve

DEADLINE_S = 30.0
TEXT = b"some text that compresses well\n" * 4000  # what the sites of the tests hold


@dataclass(frozen=True, slots=True)
class Reply:
    """A response as received."""

    status: int
    lines: list[tuple[str, str]]  # header fields in their order
    body: bytes

    def __getitem__(self, name: str) -> str:
        """Return the value of the one field of this name. Raises: KeyError if there is none or there are several."""
        values = self.all(name)
        if len(values) != 1:
            raise KeyError(f"{name}: {values}")
        return values[0]

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    def all(self, name: str) -> list[str]:
        """Return the values of all fields of this name."""
        return [value for key, value in self.lines if key.lower() == name.lower()]


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, target: str, method: str = "GET", body: bytes = b"", **fields: str) -> Reply:
        """Send a request and read its response. Underscores in field names stand for hyphens."""
        fields.setdefault("Host", "localhost")
        if body:
            fields["Content-Length"] = str(len(body))
        lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items()]
        self.writer.write(f"{method} {target} HTTP/1.1\r\n{''.join(lines)}\r\n".encode("latin-1") + body)
        return await self.read(method)

    async def read(self, method: str = "GET") -> Reply:
        """Read one response."""
        async with asyncio.timeout(DEADLINE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status_line, *lines = head.split("\r\n")[:-2]
            fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
            reply = Reply(int(status_line.split()[1]), fields, b"")
            if method == "HEAD" or reply.status in (204, 304):
                return reply
            body = await self.reader.readexactly(int(reply["Content-Length"]))
            return Reply(reply.status, fields, body)

    async def at_end(self) -> bytes:
        """Return the bytes that still come until the server closes."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.read()

    def close(self) -> None:
        """Close the connection."""
        self.writer.close()


class Site:
    """A running server with one HTTP listener."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.url = server.url()
        self.port = int(self.url.rpartition(":")[2])

    async def connect(self) -> Client:
        """Open a connection."""
        return Client(*await asyncio.open_connection("127.0.0.1", self.port))

    async def ask(self, target: str, method: str = "GET", body: bytes = b"", **fields: str) -> Reply:
        """Send one request on a connection of its own."""
        client = await self.connect()
        try:
            return await client.ask(target, method, body, **fields)
        finally:
            client.close()


@asynccontextmanager
async def site(*rules: dict[str, Any], **config: Any) -> AsyncIterator[Site]:
    """Serve these rules on a free port; `config` holds further top-level keys."""
    listen = {"listen": ["http://127.0.0.1:0"], "dispatch": list(rules)}
    async with serve({**listen, **config}, shutdown_s=0.2) as server:
        yield Site(server)
