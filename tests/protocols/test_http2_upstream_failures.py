"""Requests over HTTP/2 whose target fails, refuses or goes away: what is sent again, and what is not.

Covers `upstream.http2.outcomes` and `web.handlers.proxy.resend`.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.protocols.proxying import Stage, get, post, until
from tests.stage.http2_origin import REFUSED, Http2Origin, Received, echo


class TestFailures:
    """What is sent again, and what is not."""

    async def test_refused_streams_are_sent_again_whatever_the_method(self) -> None:
        async def handler(request: Received) -> None:
            if len(origin.requests) == 1:
                request.cut(REFUSED)
            else:
                await echo(request)

        async with Http2Origin(handler) as origin, Stage(origin.url) as stage:
            assert (await stage.ask(post(b"data")))[::2] == (200, b"data")
            assert len(origin.requests) == 2
            assert stage.loads == [0]

    async def test_the_place_of_a_refused_request_is_free_again(self) -> None:
        async def handler(request: Received) -> None:
            if len(origin.requests) == 1:
                request.connection.go_away(0)
            else:
                await echo(request)

        async with Http2Origin(handler) as origin:
            upstreams = {"app": {"targets": [{"uri": origin.url, "max_connections": 1}]}}
            async with Stage("upstream://app", config={"upstreams": upstreams}) as stage:
                assert (await stage.ask(post(b"data")))[::2] == (200, b"data")
                assert stage.loads == [0]

    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_a_target_that_refuses_all_is_given_up(self, method: str) -> None:
        async def handler(request: Received) -> None:
            request.cut(REFUSED)

        async with Http2Origin(handler) as origin, Stage(origin.url, retries=3) as stage:
            for number in (4, 8):
                assert (await stage.ask(post(b"data", method=method)))[0] == 502
                assert len(origin.requests) == number

    async def test_another_target_is_preferred(self) -> None:
        async def refuse(request: Received) -> None:
            request.cut(REFUSED)

        async with Http2Origin(refuse) as bad, Http2Origin(echo) as good:
            upstreams = {"app": {"targets": [bad.url, good.url]}}
            async with Stage("upstream://app", config={"upstreams": upstreams}) as stage:
                for _ in range(2):
                    assert (await stage.ask(post(b"data")))[0] == 200
                assert len(good.requests) == 2
                assert len(bad.requests) == 1

    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_goaway_moves_what_is_not_processed(self, method: str) -> None:
        async def handler(request: Received) -> None:
            if len(origin.connections) == 1:
                await until(lambda: len(origin.requests) == 2)
                if request.stream == 1:
                    request.connection.go_away(1)
                    await until(lambda: len(origin.connections) == 2)
                    await request.respond(b"first")
            else:
                await echo(request)

        async with Http2Origin(handler) as origin, Stage(origin.url, retries=0) as stage:
            first = await stage.client()
            await first.send(get("/1"))
            await until(lambda: origin.requests)
            second = await stage.client()
            await second.send(post(b"data", method=method))
            assert (await second.answer())[::2] == (200, b"data")
            assert (await first.answer())[::2] == (200, b"first")
            assert len(origin.requests) == 3
            await until(lambda: origin.connections[0].is_lost)

    @pytest.mark.parametrize(("method", "sent"), [("GET", 2), ("POST", 1)])
    async def test_a_lost_connection_repeats_idempotent_requests_only(self, method: str, sent: int) -> None:
        async def handler(request: Received) -> None:
            if request[":path"] == "/" and len(origin.connections) == 1:
                request.connection.transport.abort()
            else:
                await echo(request)

        async with Http2Origin(handler) as origin, Stage(origin.url) as stage:
            await stage.ask(get("/first"))
            status = (await stage.ask(post(b"data", method=method)))[0]
            assert status == (200 if sent == 2 else 502)
            assert len([one for one in origin.requests if one[":path"] == "/"]) == sent
            assert stage.loads == [0]

    async def test_reset_in_the_middle_of_a_response(self) -> None:
        async def handler(request: Received) -> None:
            request.head(200, [("content-length", "10")])
            await request.data(b"half")
            await until(lambda: other)
            request.cut(2)

        other: list[int] = []
        async with Http2Origin(handler) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(get())
            await client.head()
            other.append(1)
            assert await client.rest() == b"half"
            assert stage.loads == [0]

    async def test_a_client_that_leaves_cancels_its_stream(self) -> None:
        async def handler(request: Received) -> None:
            await asyncio.Event().wait()

        async with Http2Origin(handler) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(get())
            await until(lambda: origin.requests)
            client.reset()
            assert await until(lambda: origin.requests[0].reset) == 8
            assert stage.loads == [0]
            assert not origin.connections[0].is_lost

    @pytest.mark.parametrize(("body", "key"), [(b"", "response"), (b"part", "read")])
    async def test_timeouts_end_the_stream_alone(self, body: bytes, key: str) -> None:
        async def handler(request: Received) -> None:
            if request[":path"] == "/":
                if body:
                    request.head()
                    await request.data(body)
                await asyncio.Event().wait()
            await echo(request)

        async with Http2Origin(handler) as origin, Stage(origin.url, retries=0) as stage:
            client = await stage.client()
            await client.send(get())
            if body:
                await client.head()
            else:
                await until(lambda: origin.requests)
            stage.pass_time(61)
            if body:
                assert b"part" in await client.rest()
            else:
                assert (await client.answer())[0] == 504
            assert await until(lambda: origin.requests[0].reset) == 8
            assert (await stage.ask(get("/next")))[0] == 200
            assert len(origin.connections) == 1
