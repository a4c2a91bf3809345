"""What else rules and upstreams do, with targets over HTTP/2: one test for each, as the code is that of HTTP/1.1."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from npserver.upstream.health_checks import HealthChecks
from tests.protocols.proxying import Stage, get, post, until
from tests.stage.http2_origin import Http2Origin, Received, echo


def numbered(origin: Callable[[], Http2Origin]) -> Any:
    async def handler(request: Received) -> None:
        number = len(origin().requests)
        await request.respond(b"%d" % number, fields=[("cache-control", "max-age=60"), ("content-type", "text/plain")])

    return handler


def upstream(*origins: Http2Origin, **keys: Any) -> dict[str, Any]:
    return {"upstreams": {"app": {"targets": [one.url for one in origins], **keys}}}


async def test_buffered_request() -> None:
    async with Http2Origin(echo) as origin, Stage(origin.url, request_buffering={"memory": 1000}) as stage:
        client = await stage.client()
        chunks = b"".join(b"%x\r\n%b\r\n" % (5000, b"y" * 5000) for _ in range(100))
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert (await client.ask(head + chunks + b"0\r\n\r\n"))[2] == b"y" * 500_000
        assert origin.requests[0]["content-length"] == "500000"


async def test_buffered_response() -> None:
    async def handler(request: Received) -> None:
        request.head()
        await request.data(b"x" * (4 << 20), end=True)
        done.set()

    done = asyncio.Event()
    async with Http2Origin(handler) as origin, Stage(origin.url, response_buffering=True) as stage:
        client = await stage.client()
        await client.send(get())
        await client.head()
        await asyncio.wait_for(done.wait(), 30)  # though the client has read nothing
        total = 0
        while total < 4 << 20:
            total += len(await client.reader.read(1 << 20))


async def test_sticky_sessions_and_balancing() -> None:
    async with Http2Origin(echo) as one, Http2Origin(echo) as two:
        async with Stage("upstream://app", config=upstream(one, two, sticky={"cookie": "t"})) as stage:
            head = (await stage.ask(get()))[1].decode()
            cookie = head.partition("Set-Cookie: ")[2].partition(";")[0]
            for _ in range(3):
                await stage.ask(get("/", f"Cookie: {cookie}\r\n"))
            assert sorted((len(one.requests), len(two.requests))) == [0, 4]


@pytest.mark.parametrize("balance", ["least-time", "least-conn", "round-robin"])
async def test_each_request_is_balanced(balance: str) -> None:
    async with Http2Origin(echo) as one, Http2Origin(echo) as two:
        async with Stage("upstream://app", config=upstream(one, two, balance=balance)) as stage:
            for _ in range(6):
                assert (await stage.ask(post(b"x")))[0] == 200
            assert one.requests
            assert two.requests


async def test_retry_for_a_status() -> None:
    async def bad(request: Received) -> None:
        await request.respond(b"", 503)

    async with Http2Origin(bad) as one, Http2Origin(echo) as two:
        keys = {"retry_on": ["503"], "retry_budget": "50%"}
        async with Stage("upstream://app", config=upstream(one, two, **keys)) as stage:
            for _ in range(4):
                assert (await stage.ask(get()))[0] == 200
            assert one.requests


async def test_waiting_for_a_place() -> None:
    async def handler(request: Received) -> None:
        await released.wait()
        await request.respond(b"ok")

    released = asyncio.Event()
    async with Http2Origin(handler) as origin:
        config = {"upstreams": {"app": {"targets": [{"uri": origin.url, "max_connections": 1}], "wait": "10s"}}}
        async with Stage("upstream://app", config=config) as stage:
            first, second = await stage.client(), await stage.client()
            await first.send(get())
            await until(lambda: origin.requests)
            await second.send(post(b"body"))
            await until(lambda: stage.proxy.upstream.queue is not None and stage.proxy.upstream.queue.waiters)
            assert len(origin.requests) == 1
            released.set()
            assert (await first.answer())[0] == (await second.answer())[0] == 200


async def test_mirror_copies_over_http2() -> None:
    async with Http2Origin(echo) as one, Http2Origin(echo) as two, Stage(one.url, mirror={"to": two.url}) as stage:
        assert (await stage.ask(post(b"data")))[2] == b"data"
        assert (await stage.ask(get("/path")))[0] == 200
        await until(lambda: len(two.requests) == 2 and all(one.has_ended for one in two.requests))
        assert two.requests[0].body == b"data"
        assert two.requests[0]["content-length"] == "4"
        assert two.requests[1][":path"] == "/path"


@pytest.mark.parametrize(("body", "is_healthy"), [(b"fine", True), (b"ill", False)])
async def test_http_health_check(body: bytes, is_healthy: bool) -> None:
    async def handler(request: Received) -> None:
        await request.respond(body)

    check = {"path": "/health", "expect": {"body": "fine"}}
    async with Http2Origin(handler) as origin:
        async with Stage("upstream://app", config=upstream(origin, health_check=check)) as stage:
            (service,) = stage.services
            assert isinstance(service, HealthChecks)
            reason = await service.check(stage.proxy.upstream.targets[0])
            assert (reason == "") is is_healthy
            assert origin.requests[0][":path"] == "/health"
            await until(lambda: origin.connections[0].is_lost)
            origin.close()
            assert "refused" in await service.check(stage.proxy.upstream.targets[0])


async def test_grpc_is_told_apart_from_grpc_web() -> None:
    async def handler(request: Received) -> None:
        await request.whole()
        await asyncio.Event().wait()

    async with Http2Origin(handler) as origin, Stage(origin.url, retries=0, timeouts={"tunnel_idle": 600}) as stage:
        kinds = ["application/grpc", "application/grpc+json", "application/grpc-web", "application/grpc-web+proto"]
        clients = [await stage.client() for _ in kinds]
        for client, kind in zip(clients, kinds, strict=True):
            await client.send(post(b"x", f"Content-Type: {kind}\r\n"))
        await until(lambda: len(origin.requests) == 4 and all(one.has_ended for one in origin.requests))
        stage.pass_time(61)
        await until(lambda: sum(one.reset is not None for one in origin.requests) == 2)
        assert {one["content-type"] for one in origin.requests if one.reset is not None} == set(kinds[2:])
        stage.pass_time(541)
        await until(lambda: all(one.reset is not None for one in origin.requests))
