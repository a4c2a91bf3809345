"""WebSockets over HTTP/2 to h2c targets (RFC 8441): the tunnel, its two ends, its back-pressure, and refusals.

Covers `upstream.http2.tunnel` and `upstream.http2.roles`.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from hashlib import sha1

import pytest

from tests.protocols.proxying import Client, Stage, get, until
from tests.stage.http2_origin import Http2Origin, Received

KEY = b64encode(b"0123456789abcdef").decode()
ACCEPT = b64encode(sha1(f"{KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
FIELDS = (
    f"Connection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: chat\r\nOrigin: http://site.test\r\n"
)
TUNNELS = {8: 1}


async def echo(request: Received) -> None:
    """Agree, and send back what comes, until the client's side ends."""
    request.head(200, [("sec-websocket-protocol", "chat")])
    sent = 0
    while not (request.has_ended and sent == len(request.body)):
        await until(lambda: len(request.body) > sent or request.has_ended or request.reset is not None)  # noqa: B023
        if request.reset is not None:
            return
        data, sent = request.body[sent:], len(request.body)
        await request.data(data)
    request.finish()


async def opened(stage: Stage) -> Client:
    client = await stage.client()
    await client.send(get("/socket", FIELDS))
    head = await client.head()
    assert head.startswith(b"HTTP/1.1 101")
    assert b"\r\nSec-WebSocket-Accept: " + ACCEPT + b"\r\n" in head
    assert b"\r\nsec-websocket-protocol: chat\r\n" in head
    return client


async def test_tunnel() -> None:
    async with Http2Origin(echo, settings=TUNNELS) as origin, Stage(origin.url) as stage:
        clients = [await opened(stage) for _ in range(3)]
        for number, client in enumerate(clients):
            await client.send(b"hello %d" % number)
            assert await client.reader.readexactly(7) == b"hello %d" % number
        assert len(origin.connections) == 1
        (request, *_) = origin.requests
        assert request.fields[:5] == [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":authority", f"127.0.0.1:{origin.port}"),
            (":path", "/socket"),
        ]
        assert request["sec-websocket-version"] == "13"
        assert request["origin"] == "http://site.test"
        assert not {"sec-websocket-key", "upgrade", "connection"} & dict(request.fields).keys()
        assert stage.loads == [3]
        clients[0].writer.write_eof()
        assert await clients[0].rest() == b""
        await until(lambda: stage.loads == [2])
        clients[1].reset()
        await until(lambda: origin.requests[1].reset is not None)
        await until(lambda: stage.loads == [1])
        await clients[2].send(b"still there")
        assert await clients[2].reader.readexactly(11) == b"still there"
        assert stage.context.sweeper.watched


async def test_much_data_both_ways() -> None:
    async with Http2Origin(echo, settings=TUNNELS) as origin, Stage(origin.url) as stage:
        client = await opened(stage)
        sending = asyncio.create_task(client.send(b"x" * (3 << 20)))
        total = 0
        while total < 3 << 20:
            total += len(await asyncio.wait_for(client.reader.read(1 << 20), 30))
        await sending


async def test_a_client_that_does_not_read_holds_up_its_target_alone() -> None:
    async def handler(request: Received) -> None:
        request.head(200)
        if request[":path"] == "/socket":
            await request.data(b"x" * (8 << 20), end=True)
        else:
            await request.respond(b"ok")

    async with Http2Origin(handler, settings=TUNNELS) as origin, Stage(origin.url) as stage:
        client = await stage.slow_client()
        await client.send(get("/socket", FIELDS))
        await client.head()
        await until(lambda: origin.connections[0].h2.local_flow_control_window(1) == 0)
        total = 0
        while data := await asyncio.wait_for(client.reader.read(1 << 20), 30):
            total += len(data)
        assert total == 8 << 20
        await until(lambda: stage.loads == [0])


async def test_a_target_that_goes_on_after_the_end_is_not_kept_in_memory() -> None:
    """The client leaves while it is slow: the tunnel ends, the target sends on until its stream is reset."""

    async def handler(request: Received) -> None:
        request.head(200)
        while request.reset is None:
            await request.data(b"x" * (1 << 20))
            sent.append(1 << 20)

    sent: list[int] = []
    async with Http2Origin(handler, settings=TUNNELS) as origin, Stage(origin.url) as stage:
        client = await stage.slow_client()
        await client.send(get("/socket", FIELDS))
        await client.head()
        tunnel = stage.proxy.upstream.targets[0].pool.connections[0].streams[1].transport
        await until(lambda: not tunnel.is_reading() and tunnel._held)
        tunnel.close()
        before = sum(sent)
        await until(lambda: sum(sent) >= before + (4 << 20))
        assert not tunnel._held
        assert await until(lambda: origin.requests[0].reset) == 8


@pytest.mark.parametrize("code", [0, 8])
async def test_the_target_ends_it(code: int) -> None:
    async def handler(request: Received) -> None:
        request.head(200)
        await request.data(b"bye")
        request.cut(code) if code else request.finish()

    async with Http2Origin(handler, settings=TUNNELS) as origin, Stage(origin.url) as stage:
        client = await stage.client()
        await client.send(get("/socket", FIELDS))
        await client.head()
        try:
            assert await client.rest() in ((b"", b"bye") if code else (b"bye",))
        except ConnectionResetError:
            assert code
        await until(lambda: stage.loads == [0])
        assert not origin.connections[0].is_lost


async def test_the_connection_is_lost() -> None:
    async with Http2Origin(echo, settings=TUNNELS) as origin, Stage(origin.url) as stage:
        client = await opened(stage)
        origin.connections[0].transport.abort()
        try:
            assert await client.rest() == b""
        except ConnectionResetError:
            pass
        await until(lambda: stage.loads == [0])


async def test_refusals() -> None:
    async def handler(request: Received) -> None:
        await request.respond(b"no", 403)

    async with Http2Origin(handler, settings=TUNNELS) as origin, Stage(origin.url) as stage:
        client = await stage.client()
        assert (await client.ask(get("/socket", FIELDS)))[::2] == (403, b"no")
        assert (await client.ask(get("/socket", FIELDS)))[0] == 403  # the connection goes on
        assert stage.loads == [0]


async def test_target_that_takes_none() -> None:
    async with Http2Origin(echo) as origin, Stage(origin.url) as stage:
        assert (await stage.ask(get("/socket", FIELDS)))[0] == 502
        assert origin.requests == []
        (target,) = stage.proxy.upstream.targets
        assert target.slots[target.failures_slot] == 0  # else clients could have it ejected
        assert stage.loads == [0]
