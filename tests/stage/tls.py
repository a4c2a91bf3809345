"""An https server in this process, and a client whose sessions can be kept, unlike those of event loops."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import npserver

DEADLINE_S = 30.0
RESPOND = {"handler": "respond", "body": "$host $sni $tls_version $tls_client_subject"}


@dataclass(slots=True)
class Reply:
    """A response over TLS, and what was negotiated."""

    status: int
    body: str
    tls: ssl.SSLObject
    names: tuple[str, ...]  # of the server's certificate

    @property
    def is_resumed(self) -> bool:
        return bool(self.tls.session_reused)


def client(ca: Path | str, **settings: Any) -> ssl.SSLContext:
    """Return a client context that trusts `ca` and accepts any name."""
    context = ssl.create_default_context(cafile=str(ca))
    context.check_hostname = False
    for name, value in settings.items():
        setattr(context, name, value)
    return context


async def ask(
    port: int,
    context: ssl.SSLContext,
    name: str = "localhost",
    *,
    host: str = "",
    session: Any = None,
    fields: str = "",
) -> Reply:
    """Send one request over one connection."""
    wire = MemoryTls(context, name, session)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(DEADLINE_S):
            await wire.shake(reader, writer)
            wire.tls.write(f"GET / HTTP/1.1\r\nHost: {host or name}\r\nConnection: close\r\n{fields}\r\n".encode())
            answer = await wire.read_all(reader, writer)
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    certificate: Any = wire.tls.getpeercert() or {}
    names = tuple(value for _, value in certificate.get("subjectAltName", ()))
    return Reply(int(head.split()[1]), body.decode(), wire.tls, names)


class MemoryTls:
    """A client whose session can be kept and given again."""

    def __init__(self, context: ssl.SSLContext, name: str, session: Any) -> None:
        self._incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self.outgoing, server_hostname=name, session=session)

    async def shake(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                self.tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                await self._exchange(reader, writer)

    async def read_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        found = b""
        while True:
            try:
                piece = self.tls.read(65536)
            except ssl.SSLWantReadError:
                await self._exchange(reader, writer)
                continue
            if not piece:
                return found
            found += piece

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.outgoing.read())
        data = await reader.read(65536)
        if not data:
            raise ConnectionResetError
        self._incoming.write(data)


@asynccontextmanager
async def https(tls: Any, **config: Any) -> AsyncIterator[int]:
    """Serve https with these certificates; yield the port."""
    config = {"listen": ["https://127.0.0.1:0"], "tls": tls, "dispatch": [RESPOND], **config}
    async with npserver.serve(config, shutdown_s=0) as server:
        yield int(server.url().rpartition(":")[2])
