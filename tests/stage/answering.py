"""An HTTP server for one test: it gives the same bytes as an answer to each request."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from npserver.runtime.http_get import Url, parse_url
from tests.stage.serving import forgiving


@asynccontextmanager
async def answering(
    *pieces: bytes, stays: bool = False, tls: ssl.SSLContext | None = None, path: Path | None = None
) -> AsyncIterator[tuple[Url, list[bytes]]]:
    """Serve one answer in these pieces, then close; yield the URL and the requests. `stays`: do not close."""
    requests: list[bytes] = []
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if stays:
            await ended.wait()

    if path is not None:
        server, url = await asyncio.start_unix_server(forgiving(serve), path), f"unix://{path}:/may"
    else:
        server = await asyncio.start_server(forgiving(serve), "127.0.0.1", 0, ssl=tls)
        url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/may"
    async with server:
        yield parse_url(url), requests
        ended.set()
