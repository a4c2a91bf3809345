"""Requests to an upstream over HTTP/2: what arrives, what comes back, what shares a connection, and who waits for whom.

Covers `http.http2_upstream`, and of `upstream.http2`: `upstream.http2.connection`, `upstream.http2.dialing`,
`upstream.http2.liveness`, `upstream.http2.pool`, `upstream.http2.session`, `upstream.http2.settings`,
`upstream.http2.stream`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hyperframe import frame as frames

from tests.protocols.proxying import Connection, Origin, Stage, answering, get, ok, post, silent, until
from tests.stage.http2_origin import Http2Origin, RawStream, Received, echo, h2c

CHUNKED_POST = b"POST /up HTTP/1.1\r\nHost: site.test\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n"


def pool(stage: Stage) -> Any:
    return stage.proxy.upstream.targets[0].pool


class TestMessages:
    """RFC 9113 §8: requests and responses."""

    async def test_request_head(self) -> None:
        async with Http2Origin(echo) as origin, Stage(origin.url) as stage:
            status, head, body = await stage.ask(get("/a?b=c", "Cookie: a=1\r\nX-Mixed-Case: V\r\nTE: trailers\r\n"))
            assert (status, body) == (200, b"ok")
            assert b"\r\nContent-Length: 2\r\n" in head
            (request,) = origin.requests
            assert request.fields[:4] == [
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", f"127.0.0.1:{origin.port}"),
                (":path", "/a?b=c"),
            ]
            assert request["x-mixed-case"] == "V"
            assert request["cookie"] == "a=1"
            assert request["te"] == "trailers"
            assert request["x-forwarded-host"] == "site.test"
            assert not {"host", "connection", "upgrade", "transfer-encoding"} & dict(request.fields).keys()

    @pytest.mark.parametrize("body", [b"", b"x", b"y" * 300_000])
    async def test_body_of_known_length(self, body: bytes) -> None:
        async with Http2Origin(echo) as origin, Stage(origin.url) as stage:
            assert (await stage.ask(post(body)))[2] == (body or b"ok")
            assert origin.requests[0]["content-length"] == str(len(body))

    async def test_trailers_both_ways(self) -> None:
        async with Http2Origin(echo) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(CHUNKED_POST + b"3\r\nabc\r\n")
            await until(lambda: origin.requests and origin.requests[0].body == b"abc")
            await client.send(b"0\r\nX-Sum: 7\r\nContent-Length: 9\r\n\r\n")
            head = await client.head()
            assert b"\r\nTransfer-Encoding: chunked\r\n" in head
            assert (await client.reader.readuntil(b"0\r\n")) == b"3\r\nabc\r\n0\r\n"
            assert (await client.reader.readuntil(b"\r\n\r\n")) == b"x-sum: 7\r\n\r\n"

    async def test_interim_responses_and_bodies_without_length(self) -> None:
        async def handler(request: Received) -> None:
            request.head(103, [("link", "</a>")])
            request.head(200, [("set-cookie", "a=1"), ("location", "/there")])
            await request.data(b"first")
            await until(lambda: released.is_set())
            await request.data(b"last", end=True)

        released = asyncio.Event()
        async with Http2Origin(handler) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(get())
            assert (await client.head()).startswith(b"HTTP/1.1 103")
            head = await client.head()
            assert b"\r\nset-cookie: a=1\r\n" in head
            assert await client.reader.readexactly(10) == b"5\r\nfirst\r\n"
            released.set()
            assert await client.reader.readexactly(14) == b"4\r\nlast\r\n0\r\n\r\n"

    @pytest.mark.parametrize("status", [200, 204, 304, 404, 500])
    async def test_responses_without_body(self, status: int) -> None:
        async def handler(request: Received) -> None:
            await request.respond(b"", status)

        async with Http2Origin(handler) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            for _ in range(2):
                assert (await client.ask(get()))[::2] == (status, b"")

    async def test_head_request(self) -> None:
        async def handler(request: Received) -> None:
            await request.respond(b"", 200, [("content-length", "7")])

        async with Http2Origin(handler) as origin, Stage(origin.url) as stage:
            head = (await stage.ask(get().replace(b"GET", b"HEAD"), is_head=True))[1]
            assert b"\r\nContent-Length: 7\r\n" in head

    async def test_expectation_is_passed_on(self) -> None:
        async def handler(request: Received) -> None:
            assert request["expect"] == "100-continue"
            request.head(100)
            await echo(request)

        async with Http2Origin(handler) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            assert (await client.head()).startswith(b"HTTP/1.1 100")
            await client.send(b"hi")
            assert (await client.answer())[2] == b"hi"

    async def test_response_before_the_end_of_the_request(self) -> None:
        async def handler(request: Received) -> None:
            await request.respond(b"no", 403)

        async with Http2Origin(handler) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(CHUNKED_POST + b"3\r\nabc\r\n")
            assert (await client.answer())[::2] == (403, b"no")
            assert await until(lambda: origin.requests[0].reset) == 8
            assert (await stage.ask(get()))[0] == 403
            assert len(origin.connections) == 1

    async def test_head_that_the_target_does_not_take(self) -> None:
        async with Http2Origin(echo, settings={6: 1000}) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            assert (await client.ask(get("/", f"X: {'x' * 1000}\r\n")))[0] == 431
            assert (await client.ask(get()))[0] == 200
            assert len(origin.requests) == 1
            assert stage.loads == [0]

    async def test_upgrades_other_than_websockets_are_refused(self) -> None:
        async with Http2Origin(echo) as origin, Stage(origin.url) as stage:
            assert (await stage.ask(get("/", "Connection: Upgrade\r\nUpgrade: chat\r\n")))[0] == 501
            assert origin.requests == []
            assert (await stage.ask(get("/", "Connection: Upgrade\r\nUpgrade: h2c\r\n")))[
                0
            ] == 200  # it asks for nothing


class TestConnections:
    """Which requests share a connection."""

    async def test_requests_at_once_share_one(self) -> None:
        async def handler(request: Received) -> None:
            await until(lambda: len(origin.requests) == 20)
            await request.respond(b"ok")

        async with Http2Origin(handler) as origin, Stage(origin.url) as stage:
            answers = await asyncio.gather(*[stage.ask(get()) for _ in range(20)])
            assert {answer[0] for answer in answers} == {200}
            assert len(origin.connections) == 1
            target = stage.proxy.upstream.targets[0]
            assert [target.slots[slot] for slot in target.http2_slots] == [1, 0]

    @pytest.mark.parametrize("limited_by", ["target", "config"])
    async def test_further_requests_open_another(self, limited_by: str) -> None:
        async def handler(request: Received) -> None:
            await until(lambda: len(origin.requests) == 6)
            await request.respond(b"ok")

        settings = {3: 2} if limited_by == "target" else {}
        http2 = {} if limited_by == "target" else {"max_streams": 2}
        async with Http2Origin(handler, settings=settings) as origin:
            upstreams = {"app": {"targets": [origin.url], "http2": http2}}
            async with Stage("upstream://app", config={"upstreams": upstreams}) as stage:
                answers = await asyncio.gather(*[stage.ask(get()) for _ in range(6)])
                assert {answer[0] for answer in answers} == {200}
                assert sorted(len(one.streams) for one in origin.connections) == [2, 2, 2]

    async def test_without_keepalive_each_request_has_its_own(self) -> None:
        async with Http2Origin(echo) as origin, Stage(origin.url, keepalive=False) as stage:
            for _ in range(2):
                assert (await stage.ask(get()))[0] == 200
            assert len(origin.connections) == 2
            await until(lambda: all(one.is_lost for one in origin.connections))

    async def test_idle_connections_are_closed(self) -> None:
        async with Http2Origin(echo) as origin, Stage(origin.url) as stage:
            await stage.ask(get())
            stage.pass_time(56)
            await until(lambda: origin.connections[0].is_lost)
            assert origin.connections[0].went_away == 0
            assert (await stage.ask(get()))[0] == 200

    async def test_old_connections_get_no_more_requests(self) -> None:
        async with Http2Origin(echo) as origin:
            upstreams = {"app": {"targets": [origin.url], "http2": {"max_age": "1h"}}}
            async with Stage("upstream://app", config={"upstreams": upstreams}) as stage:
                await stage.ask(get())
                pool(stage).connections[0]._leaves_at -= 3601
                await stage.ask(get())
                await until(lambda: origin.connections[0].is_lost)
                assert (await stage.ask(get()))[0] == 200
                assert len(origin.connections) == 2

    async def test_old_connections_that_are_never_idle_get_no_more_requests(self) -> None:
        async def handler(request: Received) -> None:
            if request[":path"] == "/long":
                await released.wait()
            await request.respond(b"ok")

        released = asyncio.Event()
        async with Http2Origin(handler) as origin:
            upstreams = {"app": {"targets": [origin.url], "http2": {"max_age": "1h"}}}
            async with Stage("upstream://app", config={"upstreams": upstreams}) as stage:
                client = await stage.client()
                await client.send(get("/long"))
                await until(lambda: origin.requests)
                pool(stage).connections[0]._leaves_at -= 3601
                for _ in range(3):
                    assert (await stage.ask(get()))[0] == 200
                assert [one.connection for one in origin.requests] == [origin.connections[at] for at in (0, 0, 1, 1)]
                released.set()
                assert (await client.answer())[2] == b"ok"
                await until(lambda: origin.connections[0].is_lost)
                assert origin.connections[0].went_away == 0

    async def test_a_connection_without_stream_numbers_gets_no_more_requests(self) -> None:
        """RFC 9113 §5.1.1: after 2^30 requests, for which the session that has none left is played."""

        class Exhausted:
            def __init__(self, session: Any) -> None:
                self.session = session

            def __getattr__(self, name: str) -> Any:
                return getattr(self.session, name)

            def open(self, fields: Any, *, has_ended: bool) -> int:
                return 0

        async with Http2Origin(echo) as origin, Stage(origin.url) as stage:
            await stage.ask(get())
            (connection,) = pool(stage).connections
            connection.session = Exhausted(connection.session)
            for body in (b"", b"x"):
                assert (await stage.ask(post(body)))[0] == 200
            await until(lambda: origin.connections[0].is_lost)
            assert len(origin.connections) == 2
            assert stage.loads == [0]

    async def test_a_silent_target_is_asked_and_given_up(self) -> None:
        async def handler(request: Received) -> None:
            await asyncio.Event().wait()

        async with Http2Origin(handler) as origin, Stage(origin.url, retries=0, timeout="1h") as stage:
            client = await stage.client()
            await client.send(get())
            await until(lambda: origin.requests)
            connection = pool(stage).connections[0]
            stage.pass_time(31)
            connection.liveness.heard_at -= 31
            stage.pass_time(31)
            await until(lambda: origin.connections[0].pings)
            await until(lambda: not connection.liveness.is_asked)  # it has answered
            stage.pass_time(11)
            assert origin.connections[0].pings == 1
            connection.liveness.is_asked = True  # as if it had not
            connection.deadline = 0
            stage.pass_time(0)
            assert (await client.answer())[0] == 504
            assert connection.is_leaving

    @pytest.mark.parametrize("answer", [ok(), b"\x15\x03\x01\x00\x02\x02\x46", b""])
    async def test_target_that_does_not_speak_http2(self, answer: bytes) -> None:
        async with Origin(answering(answer) if answer else silent) as origin:
            url = origin.url.replace("http:", "h2c:")
            async with Stage(url, timeouts={"connect": 0.2}) as stage:
                assert (await stage.ask(get()))[0] == (502 if answer else 504)
                assert stage.loads == [0]

    async def test_target_that_allows_no_requests(self) -> None:
        async with Http2Origin(echo, settings={3: 0}) as origin, Stage(origin.url) as stage:
            assert (await stage.ask(get()))[0] == 502
            assert origin.requests == []

    async def test_those_that_wait_for_connections_of_others_wait_once(self) -> None:
        """The target allows one request a connection, and takes two thirds of the time limit for each connection."""

        async def serve(connection: Connection) -> None:
            stream, settled = RawStream(connection), asyncio.Event()
            asyncio.get_running_loop().call_later(2, settled.set)
            await settled.wait()
            await stream.greet({3: 1})
            await stream.until(frames.GoAwayFrame)

        async with Origin(serve) as origin, Stage(h2c(origin), retries=0, timeouts={"connect": 3}) as stage:
            asked = [asyncio.create_task(stage.ask(get())) for _ in range(3)]
            ended, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            assert [one.result()[0] for one in ended] == [504]
            assert len(origin.connections) == 2
            for one in asked:
                one.cancel()

    async def test_all_that_wait_for_a_connection_fail_together(self) -> None:
        async with Origin(silent) as origin:
            url = origin.url.replace("http:", "h2c:")
            async with Stage(url, timeouts={"connect": 0.2}) as stage:
                answers = await asyncio.gather(*[stage.ask(get()) for _ in range(10)])
                assert {answer[0] for answer in answers} == {504}
                assert len(origin.connections) == 1


class TestBackPressure:
    """A slow side makes the other one wait; nothing piles up."""

    async def test_slow_client(self) -> None:
        async def handler(request: Received) -> None:
            request.head()
            await request.data(b"x" * (8 << 20), end=True)

        async with Http2Origin(handler) as origin, Stage(origin.url) as stage:
            client = await stage.slow_client()
            await client.send(get())
            await client.head()
            connection = origin.connections[0] if origin.connections else None
            assert connection is not None
            await until(lambda: pool(stage).connections[0].streams[1]._is_paused)
            await until(lambda: connection.h2.local_flow_control_window(1) == 0)
            other = await stage.client()
            await other.send(get("/other"))
            await other.head()  # it does not hold up others
            other.reset()
            total = 0
            while total < 8 << 20:
                total += len(await client.reader.read(1 << 20))
            assert origin.requests[0].reset is None

    async def test_slow_target(self) -> None:
        async def handler(request: Received) -> None:
            await released.wait()
            for stream in (0, request.stream):
                request.connection.h2.increment_flow_control_window(1 << 30, stream or None)
            request.connection.flush()
            await request.whole()
            await request.respond(b"ok")

        released = asyncio.Event()
        async with Http2Origin(handler, holds_windows=True) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            sending = asyncio.create_task(client.send(post(b"x" * (16 << 20))))
            await until(lambda: origin.requests and len(origin.requests[0].body) == 65535)
            (stream,) = pool(stage).connections[0].streams.values()
            await until(lambda: stream.is_write_paused)
            assert stream._connection.session.unsent(1) < 1 << 20
            assert not sending.done()
            released.set()
            assert (await client.answer())[0] == 200
            assert len(origin.requests[0].body) == 16 << 20
