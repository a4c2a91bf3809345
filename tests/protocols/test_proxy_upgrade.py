"""Upgrades and tunnels (RFC 9110 §7.8, RFC 6455).

Covers `web.handlers.proxy.refused_upgrade`, `web.handlers.proxy.tunnel` and `web.handlers.proxy.upgrade`.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha1
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from npserver.net.relay import Relay
from tests.protocols.proxying import WAIT_S, Connection, Origin, Stage, get, ok, silent, until

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b64encode(sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
UPGRADE = get(
    "/ws", f"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {KEY.decode()}\r\n"
    "Sec-WebSocket-Version: 13\r\n"
)  # fmt: skip
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
    + ACCEPT + b"\r\n\r\n"
)  # fmt: skip


async def echo(connection: Connection) -> None:
    """Accept the upgrade, then send back what comes; a half-close is answered by one."""
    await connection.head()
    await connection.send(SWITCH)
    while data := await connection.read():
        await connection.send(data)
    connection.writer.write_eof()


def relays(stage: Stage) -> list[Relay]:
    """The tunnels that are open."""
    return [one for one in stage.context.sweeper.watched if isinstance(one, Relay)]


class TestTunnel:
    async def test_both_directions_and_early_bytes(self) -> None:
        async def script(connection: Connection) -> None:
            await connection.head()
            await connection.send(SWITCH + b"hello")
            while data := await connection.read():
                await connection.send(data)

        async with Origin(script) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(UPGRADE + b"early")  # held until the upstream has agreed
            head = await client.head()
            assert head.startswith(b"HTTP/1.1 101 ")
            lower = head.lower()
            assert lower.count(b"\r\nconnection: upgrade\r\n") == 1
            assert lower.count(b"\r\nupgrade: websocket\r\n") == 1
            assert b"sec-websocket-accept: " + ACCEPT.lower() in lower
            assert await asyncio.wait_for(client.reader.readexactly(10), WAIT_S) == b"helloearly"
            await client.send(b"more")
            assert await asyncio.wait_for(client.reader.readexactly(4), WAIT_S) == b"more"
            request = origin.seen.partition(b"\r\n\r\n")[0].lower()
            assert b"\r\nconnection: upgrade" in request
            assert b"\r\nupgrade: websocket" in request

    async def test_a_half_close_passes_and_bytes_are_counted(self) -> None:
        async with Origin(echo) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(UPGRADE)
            await client.head()
            assert stage.loads == [1]
            await client.send(b"last words")
            client.writer.write_eof()
            assert await client.rest() == b"last words"
            await until(lambda: stage.loads == [0])
            await until(lambda: not stage.context.connections)
            assert not relays(stage)

    async def test_idle_tunnel_ends(self) -> None:
        async with Origin(echo) as origin, Stage(origin.url, timeouts={"tunnel_idle": 10}) as stage:
            client = await stage.client()
            await client.send(UPGRADE)
            await client.head()
            now = stage.context.loop.time()
            for seconds in range(0, 30, 3):
                for relay in relays(stage):
                    relay.expire(now + seconds)
            assert await client.rest() == b""
            await until(lambda: stage.loads == [0])

    async def test_upstream_that_dies_ends_it(self) -> None:
        async def script(connection: Connection) -> None:
            await connection.head()
            await connection.send(SWITCH)
            await connection.read()

        async with Origin(script) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(UPGRADE)
            await client.head()
            await client.send(b"x")
            assert await client.rest() == b""
            client.close()
            await until(lambda: stage.loads == [0])

    async def test_slow_reader_slows_the_sender(self) -> None:
        sent = 0

        async def script(connection: Connection) -> None:
            nonlocal sent
            await connection.head()
            await connection.send(SWITCH)
            while sent < 64 << 20:
                await connection.send(bytes(1 << 16))
                sent += 1 << 16

        async with Origin(script) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(UPGRADE)
            await client.head()
            seen = -1
            while seen != sent:
                seen = sent
                for _ in range(30):
                    await asyncio.sleep(0.001)
            assert sent < 32 << 20


class TestRefused:
    async def test_stays_http_and_early_bytes_are_the_next_request(self) -> None:
        answers = iter([b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", ok(b"second")])

        async def script(connection: Connection) -> None:
            while await connection.head():
                await connection.send(next(answers))

        async with Origin(script) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(UPGRADE + get("/second", "X-Forwarded-For: 6.6.6.6\r\n"))
            assert (await client.answer())[0] == 403
            assert (await client.answer())[2] == b"second"
            assert b"6.6.6.6" not in origin.seen  # it went through us as a request, not past us

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 101 S\r\n\r\n",
            b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n",
            b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n",
            SWITCH.replace(ACCEPT, b"AAAA"),
        ],
    )
    async def test_bad_101_makes_no_tunnel(self, answer: bytes) -> None:
        async def script(connection: Connection) -> None:
            await connection.head()
            await connection.send(answer)
            await silent(connection)

        async with Origin(script) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(UPGRADE + b"GET /smuggled HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert (await client.answer())[0] == 502
            assert b"smuggled" not in origin.connections[0].seen
            await until(lambda: stage.loads == [0])

    @pytest.mark.parametrize("protocol", ["h2c", "H2C", "h2", "HTTP/2.0"])
    async def test_http2_is_not_asked_for(self, protocol: str) -> None:
        fields = f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"

        async def script(connection: Connection) -> None:
            await connection.head()
            await connection.send(ok())

        async with Origin(script) as origin, Stage(origin.url) as stage:
            assert (await stage.ask(get("/", fields)))[0] == 200
            assert b"upgrade" not in origin.seen.lower()
            assert b"settings" not in origin.seen.lower()

    async def test_only_other_protocols_are_left_of_a_list(self) -> None:
        async def script(connection: Connection) -> None:
            await connection.head()
            await connection.send(ok())

        async with Origin(script) as origin, Stage(origin.url) as stage:
            await stage.ask(get("/", "Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n"))
            assert b"\r\nUpgrade: websocket\r\n" in origin.seen

    async def test_upgrade_with_a_body_is_plain_http(self) -> None:
        async def script(connection: Connection) -> None:
            await connection.body(await connection.head())
            await connection.send(ok())

        async with Origin(script) as origin, Stage(origin.url) as stage:
            fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n"
            assert (await stage.ask(get("/", fields) + b"hi"))[0] == 200
            assert b"Upgrade" not in origin.seen


class TestWebSocketLibrary:
    async def test_a_library_talks_to_a_library(self) -> None:
        async def handler(connection: ServerConnection) -> None:
            async for message in connection:
                await connection.send(message)

        async with serve(handler, "127.0.0.1", 0, subprotocols=[websockets.Subprotocol("chat")]) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            async with Stage(f"http://127.0.0.1:{port}") as stage:
                url = f"ws://127.0.0.1:{stage.port}/ws"
                async with connect(url, subprotocols=[websockets.Subprotocol("chat")]) as client:
                    assert client.subprotocol == "chat"
                    for size in (1, 1000, 100_000, 1_000_000):
                        await client.send(b"x" * size)
                        assert await asyncio.wait_for(client.recv(), WAIT_S) == b"x" * size
                    await (await client.ping())
                assert client.close_code == 1000
                await until(lambda: stage.loads == [0])


@asynccontextmanager
async def careful_application(body: bytes = b"Cross origin websockets not allowed") -> AsyncIterator[str]:
    """Serve WebSockets to pages of the same origin only, as Tornado does for Jupyter; yield the URL."""

    async def handler(connection: ServerConnection) -> None:
        await connection.send("welcome")

    def check_origin(connection: ServerConnection, request: websockets.Request) -> websockets.Response | None:
        if request.headers["Origin"].partition("://")[2] == request.headers["Host"]:
            return None
        return connection.respond(403, body.decode())

    async with serve(handler, "127.0.0.1", 0, process_request=check_origin) as server:
        yield f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "preserve_host" in record.getMessage()]


class TestOrigin:
    """RFC 6455 §10.2: applications compare Origin with Host."""

    @staticmethod
    async def open(stage: Stage, origin: str = "") -> str:
        """Open a WebSocket as a page of the client's site does. Return the first message, or the status."""
        site = f"127.0.0.1:{stage.port}"
        try:
            async with connect(f"ws://{site}/ws", origin=websockets.Origin(origin or f"http://{site}")) as websocket:
                return str(await asyncio.wait_for(websocket.recv(), WAIT_S))
        except websockets.InvalidStatus as error:
            return str(error.response.status_code)

    @pytest.mark.parametrize("body", [b"no", b"no" * 100_000], ids=["in one read", "in many"])
    async def test_a_refusal_for_our_host_names_the_key_once(
        self, caplog: pytest.LogCaptureFixture, body: bytes
    ) -> None:
        async with careful_application(body) as url, Stage(url) as stage:
            assert [await self.open(stage) for _ in range(3)] == ["403"] * 3
            (line,) = told(caplog)
            assert line == (
                f"dispatch[0] proxy: {url} answered a WebSocket request with 403, likely because its Origin "
                f"'http://127.0.0.1:{stage.port}' is not the Host '{url[7:]}' that was sent; "
                '"preserve_host": true sends the client\'s Host (logged once per rule and worker)'
            )

    @pytest.mark.parametrize("rule", [{"preserve_host": True}, {"headers": {"Host": "$authority"}}])
    async def test_the_clients_host_is_accepted(self, caplog: pytest.LogCaptureFixture, rule: dict[str, Any]) -> None:
        async with careful_application() as url, Stage(url, **rule) as stage:
            assert await self.open(stage) == "welcome"
            assert await self.open(stage, "http://evil.example") == "403"
            assert told(caplog) == []

    async def test_a_page_of_another_site_is_refused_without_advice(self, caplog: pytest.LogCaptureFixture) -> None:
        async with careful_application() as url, Stage(url) as stage:
            assert await self.open(stage, "http://evil.example") == "403"
            assert told(caplog) == []

    @pytest.mark.parametrize(
        ("status", "origin", "is_told"),
        [
            (403, "http://site.test", True),
            (404, "http://site.test", True),
            (403, "http://SITE.test:80", True),
            (401, "http://site.test", False),
            (426, "http://site.test", False),
            (500, "http://site.test", False),
            (403, "http://site.test:81", False),
            (403, "null", False),
            (403, "", False),
        ],
    )
    async def test_the_answer_and_the_origin_decide(
        self, caplog: pytest.LogCaptureFixture, status: int, origin: str, is_told: bool
    ) -> None:
        async def script(connection: Connection) -> None:
            await connection.head()
            await connection.send(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)

        line = f"Origin: {origin}\r\n" if origin else ""
        async with Origin(script) as upstream, Stage(upstream.url) as stage:
            assert (await stage.ask(UPGRADE.replace(b"Upgrade:", line.encode() + b"Upgrade:")))[0] == status
        assert bool(told(caplog)) is is_told
