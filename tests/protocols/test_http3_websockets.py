"""WebSockets over HTTP/3 (RFC 9220), to a real WebSocket server of HTTP/1.1: the tunnel is that of HTTP/2."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from tests.stage.http3 import Answer, connected, serving
from tests.stage.http3_websocket import WebSocket

HELLO = {"handler": "respond", "path": "/hello", "body": "hello"}
NO_ERROR, CANCELLED = 0x100, 0x10C


@pytest.fixture
async def upstream() -> AsyncIterator[dict[str, Any]]:
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve(echo, "127.0.0.1", 0, max_size=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield {"handler": "proxy", "path": "/ws/**", "proxy_pass": f"http://127.0.0.1:{port}"}


async def test_messages_beside_requests(upstream: dict[str, Any], tmp_path: Path) -> None:
    async with serving([HELLO, upstream], tmp_path) as server, connected(server.port) as client:
        one, other = WebSocket(client, "/ws/a"), WebSocket(client, "/ws/b")
        one.send(b"before the answer")
        assert (await one.answered(), await other.answered()) == (200, 200)
        assert await one.recv() == b"before the answer"
        assert one.answer.fields.keys().isdisjoint({"upgrade", "sec-websocket-accept", "content-length"})
        for size in (0, 126, 65_536, 3_000_000):
            one.send(bytes(size))
            assert await one.recv() == bytes(size)
        assert (await client.request(path="/hello")).body == b"hello"
        other.send(b"x")
        assert await other.recv() == b"x"


async def test_each_side_ends_its_own(upstream: dict[str, Any], tmp_path: Path) -> None:
    async with serving([HELLO, upstream], tmp_path) as server, connected(server.port) as client:
        one, other = WebSocket(client, "/ws/a"), WebSocket(client, "/ws/b")
        assert (await one.answered(), await other.answered()) == (200, 200)
        one.protocol.send_close(1000)
        client.body(one.stream, b"".join(one.protocol.data_to_send()), has_ended=True)
        await client.until(lambda: one.answer.has_ended)
        client.quic.reset_stream(other.stream, CANCELLED)
        client.send()
        await client.until(lambda: server.count("http.requests") == 2)
        assert (await client.request(path="/hello")).body == b"hello"


@pytest.mark.parametrize(("path", "protocol", "status"), [
    ("/hello", "websocket", 400), ("/none", "websocket", 404), ("/ws/x", "webtransport", 501),
])  # fmt: skip
async def test_what_is_no_websocket(
    upstream: dict[str, Any], tmp_path: Path, path: str, protocol: str, status: int
) -> None:
    async with serving([HELLO, upstream], tmp_path) as server, connected(server.port) as client:
        stream, answer = client.begin("CONNECT", path, fields=[], has_body=True)
        await client.until(lambda: answer.reset is not None)  # no `:protocol` after all: malformed
        assert client.http is not None
        stream = client.quic.get_next_available_stream_id()
        answer = client.answers[stream] = Answer()
        head = {
            ":method": "CONNECT", ":protocol": protocol, ":scheme": "https", ":path": path, ":authority": "localhost",
        }  # fmt: skip
        client.http.send_headers(stream, [(name.encode(), value.encode()) for name, value in head.items()])
        client.send()
        await client.until(lambda: answer.has_ended)
        assert answer.status == status
        assert (await client.request(path="/hello")).body == b"hello"
