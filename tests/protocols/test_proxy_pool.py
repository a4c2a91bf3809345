"""Upstream connections that are reused, and requests sent again when one of them had closed unseen (RFC 9112 §9)."""

from __future__ import annotations

import asyncio

import pytest

from tests.protocols.proxying import Connection, Origin, Stage, answering, get, ok, post, silent, until


class TestPool:
    """Connections that are reused, and those that are not."""

    async def test_clean_exchanges_share_a_connection(self) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url) as stage:
            for _ in range(3):
                await stage.ask(get())
            assert len(origin.connections) == 1

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ],
        ids=["extra bytes", "extra bytes after chunks", "close", "HTTP/1.0"],
    )
    async def test_connections_of_other_exchanges_are_closed(self, answer: bytes) -> None:
        async with Origin(answering(answer)) as origin, Stage(origin.url) as stage:
            for _ in range(2):
                status, _, body = await stage.ask(get())
                assert (status, body) == (200, b"ok")
            assert len(origin.connections) == 2
            assert not stage.proxy.upstream.targets[0].pool.idle

    @pytest.mark.parametrize("status", [b"204 N", b"304 N"])
    async def test_body_where_none_may_be(self, status: bytes) -> None:
        answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: 4\r\n\r\nevil"
        async with Origin(answering(answer)) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            for _ in range(2):
                await client.send(get())
                assert (await client.answer())[2] == b""
            assert len(origin.connections) == 2

    async def test_body_after_a_head_request(self) -> None:
        async with Origin(answering(ok(b"evil"))) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            for _ in range(2):
                await client.ask(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", is_head=True)
            assert len(origin.connections) == 2

    async def test_bytes_on_an_idle_connection_close_it(self) -> None:
        async def script(connection: Connection) -> None:
            await connection.head()
            await connection.send(ok())
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            await connection.read()

        async with Origin(script) as origin, Stage(origin.url) as stage:
            assert (await stage.ask(get()))[2] == b"ok"
            await until(lambda: not stage.proxy.upstream.targets[0].pool.idle)
            assert (await stage.ask(get()))[2] == b"ok"
            assert len(origin.connections) == 2

    async def test_early_answer_is_passed_on_and_the_connection_is_not_kept(self) -> None:
        async def script(connection: Connection) -> None:
            await connection.head()
            await connection.send(b"HTTP/1.1 401 U\r\nContent-Length: 2\r\n\r\nno")
            await silent(connection)

        async with Origin(script) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nstart")
            status, _, body = await client.answer()
            assert (status, body) == (401, b"no")
            assert not stage.proxy.upstream.targets[0].pool.idle
            await client.send(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: stage.loads == [0])
            assert b"smuggled" not in origin.seen

    async def test_early_answer_and_close_under_a_large_upload(self) -> None:
        async def script(connection: Connection) -> None:
            await connection.head()
            await connection.send(b"HTTP/1.1 413 T\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")

        async with Origin(script) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            client.writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n" + bytes(4_000_000))
            status, _, body = await client.answer()
            assert (status, body) == (413, b"big")

    async def test_keepalive_false_pools_nothing(self) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url, keepalive=False) as stage:
            for _ in range(2):
                await stage.ask(get())
            assert len(origin.connections) == 2
            assert origin.seen.count(b"\r\nConnection: close\r\n") == 2

    async def test_the_pools_size_is_bounded(self) -> None:
        gate = asyncio.Event()

        async def script(connection: Connection) -> None:
            while await connection.head():
                await gate.wait()
                await connection.send(ok())

        async with Origin(script) as origin, Stage(origin.url, keepalive_pool_size=2) as stage:
            asked = [asyncio.create_task(stage.ask(get())) for _ in range(5)]
            await until(lambda: len(origin.connections) == 5)
            gate.set()
            await asyncio.gather(*asked)
            assert len(stage.proxy.upstream.targets[0].pool.idle) == 2

    async def test_idle_connections_grow_old(self) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url, keepalive_idle_timeout=5) as stage:
            await stage.ask(get())
            pool = stage.proxy.upstream.targets[0].pool
            stage.pass_time(4)
            assert len(pool.idle) == 1
            stage.pass_time(2)
            assert not pool.idle


class TestStaleConnection:
    """A pooled connection that the upstream closed unseen (RFC 9112 §9.3.1)."""

    @staticmethod
    async def _closes_on_second(connection: Connection) -> None:
        """Serves one request, and drops the connection when the second comes; later connections serve."""
        head = await connection.head()
        await connection.body(head)
        await connection.send(ok(b"%d" % connection.number))
        if connection.number == 0:
            await connection.head()
            return
        await silent(connection)

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
    async def test_repeatable_request_is_sent_again(self, method: str) -> None:
        async with Origin(self._closes_on_second) as origin, Stage(origin.url) as stage:
            await stage.ask(get())
            status, _, body = await stage.ask(post(b"hello", method=method))
            assert (status, body) == (200, b"1")
            assert len(origin.connections) == 2
            assert stage.loads == [0]

    async def test_post_is_never_sent_twice(self) -> None:
        async with Origin(self._closes_on_second) as origin, Stage(origin.url) as stage:
            await stage.ask(get())
            status, _, _ = await stage.ask(post(b"hello"))
            assert status == 502
            assert origin.seen.count(b"POST / ") == 1
            assert len(origin.connections) == 1

    async def test_post_avoids_a_connection_known_to_be_closed(self) -> None:
        async def script(connection: Connection) -> None:
            head = await connection.head()
            await connection.body(head)
            await connection.send(ok())

        async with Origin(script) as origin, Stage(origin.url) as stage:
            for _ in range(5):
                assert (await stage.ask(post(b"hello")))[0] == 200
            assert origin.seen.count(b"POST / ") == 5

    async def test_half_an_answer_is_no_reason_to_ask_again(self) -> None:
        async def script(connection: Connection) -> None:
            await connection.head()
            await connection.send(ok())
            await connection.head()
            await connection.send(b"HTTP/1.1 200")

        async with Origin(script) as origin, Stage(origin.url) as stage:
            await stage.ask(get())
            assert (await stage.ask(get("/second")))[0] == 502
            assert origin.seen.count(b"/second") == 1
