"""What upstreams do to a request: answers of all shapes, broken ones, and none (`proxying.Origin`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.protocols.proxying import Connection, ok

Act = Callable[[Connection], Awaitable[None]]


def sends(*pieces: bytes, close: bool = False) -> Act:
    """Send these pieces, each when the one before has gone out."""

    async def act(connection: Connection) -> None:
        for piece in pieces:
            await connection.send(piece)
            await asyncio.sleep(0.01)
        if close:
            connection.writer.close()

    return act


async def resets(connection: Connection) -> None:
    connection.writer.transport.abort()


async def redirects(connection: Connection) -> None:
    fields = b"Location: %b/x\r\n" % connection.origin.url.encode()
    await connection.send(b"HTTP/1.1 302 Found\r\n%bContent-Length: 0\r\n\r\n" % fields)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ACTS: dict[str, Act] = {
    "whole": sends(ok(b"body", b"X: y\r\nDate: then\r\nServer: z\r\n")),
    "whole and large": sends(ok(b"b" * 9000)),
    "empty": sends(ok(b"")),
    "in two pieces": sends(ok(b"body")[:-2], ok(b"body")[-2:]),
    "byte by byte": sends(*[bytes((octet,)) for octet in ok(b"body")]),
    "chunks at once": sends(CHUNKED + b"4\r\nbody\r\n0\r\n\r\n"),
    "chunks in pieces": sends(CHUNKED, b"4\r\nbo", b"dy\r\n0\r\n\r\n"),
    "trailers": sends(CHUNKED + b"4\r\nbody\r\n0\r\nX: y\r\n\r\n"),
    "until it closes": sends(b"HTTP/1.1 200 OK\r\n\r\nbody", close=True),
    "last of its connection": sends(ok(b"body", b"Connection: close\r\n"), close=True),
    "HTTP/1.0": sends(b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody", close=True),
    "interim": sends(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok(b"body")),
    "204": sends(b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n"),
    "304": sends(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n"),
    "404": sends(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nbody"),
    "503": sends(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbody"),
    "redirect to itself": redirects,
    "cookie": sends(ok(b"body", b"Set-Cookie: a=b\r\n")),
    "unasked 101": sends(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
    "garbage": sends(b"\x00\x01\x02\x03garbage\r\n\r\n"),
    "bytes after the answer": sends(ok(b"body") + b"HTTP/1.1 200 OK\r\n\r\n"),
    "half an answer": sends(ok(b"body")[:-2], close=True),
    "half a head": sends(b"HTTP/1.1 200 OK\r\nContent-", close=True),
    "nothing": sends(close=True),
    "reset": resets,
}


def then(act: Act) -> Callable[[Connection], Awaitable[None]]:
    """Answer the first request of a connection, then act; further connections answer."""

    async def script(connection: Connection) -> None:
        await connection.head()
        await connection.send(ok(b"first"))
        if not await connection.head():
            return
        if connection.number:
            await connection.send(ok(b"another"))
        else:
            await act(connection)
        await connection.read()

    return script
