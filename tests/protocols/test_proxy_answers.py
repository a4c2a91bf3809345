"""Responses through the proxy, as raw bytes on both sides (RFC 9110 §7.6, RFC 9112).

Covers `web.handlers.proxy.call`.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.protocols.proxying import WAIT_S, Connection, Origin, Stage, answering, get, ok, silent, until

LARGE = bytes(range(256)) * 4096  # 1 MiB


class TestAnswer:
    async def test_fields_are_rewritten(self) -> None:
        answer = (
            b"HTTP/1.1 200 Fine\r\nDate: never\r\nServer: theirs\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: x\r\n"
            b"X-Kept:  1 \r\nContent-Length: 2\r\n\r\nok"
        )
        async with Origin(answering(answer)) as origin, Stage(origin.url) as stage:
            _, head, body = await stage.ask(get())
            assert body == b"ok"
            assert b"never" not in head
            assert b"theirs" not in head
            assert b"X-Hop" not in head
            assert b"Keep-Alive" not in head
            assert head.count(b"Date: ") == 1
            assert b"X-Kept:  1 \r\n" in head

    @pytest.mark.parametrize("pieces", [1, 7, 400])
    async def test_any_split_reads_the_same(self, pieces: int) -> None:
        body = b"3\r\nabc\r\n" * 30 + b"0\r\nX-T: 1\r\n\r\n"
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
        size = len(answer) // pieces + 1

        async def script(connection: Connection) -> None:
            while await connection.head():
                for start in range(0, len(answer), size):
                    await connection.send(answer[start : start + size])
                    await asyncio.sleep(0)

        async with Origin(script) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            for _ in range(2):
                await client.send(get())
                assert (await client.answer())[2] == b"abc" * 30
            assert len(origin.connections) == 1

    async def test_chunks_come_at_once(self) -> None:
        go_on = asyncio.Event()

        async def script(connection: Connection) -> None:
            await connection.head()
            fields = b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
            await connection.send(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n")
            for number in range(3):
                await connection.send(b"9\r\ndata: %d\n\n\r\n" % number)
                await go_on.wait()
                go_on.clear()
            await connection.send(b"0\r\n\r\n")

        async with Origin(script) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(get())
            await client.head()
            for number in range(3):
                event = await asyncio.wait_for(client.reader.readexactly(14), WAIT_S)
                assert event == b"9\r\ndata: %d\n\n\r\n" % number
                go_on.set()
            assert await asyncio.wait_for(client.reader.readexactly(5), WAIT_S) == b"0\r\n\r\n"

    async def test_trailers_are_kept(self) -> None:
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"
        async with Origin(answering(answer)) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(get("/", "TE: trailers\r\nConnection: close, TE\r\n"))
            assert (await client.rest()).endswith(b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")

    @pytest.mark.parametrize("connection", ["", "Connection: Upgrade\r\n"])
    async def test_426_tells_what_to_upgrade_to_rfc9110_15_5_22(self, connection: str) -> None:
        answer = f"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\n{connection}Content-Length: 0\r\n\r\n"
        async with Origin(answering(answer.encode())) as origin, Stage(origin.url) as stage:
            status, head, _ = await stage.ask(get())
            assert status == 426
            assert b"\r\nUpgrade: websocket\r\n" in head
            assert b"\r\nConnection: Upgrade\r\n" in head

    @pytest.mark.parametrize(
        ("line", "sent"),
        [
            (b"299", b"HTTP/1.1 299 \r\n"),
            (b"299 ", b"HTTP/1.1 299 \r\n"),
            (b"520 Web Server Is Returning an Unknown Error", b"HTTP/1.1 520 \r\n"),
            (b"999 x", b"HTTP/1.1 999 \r\n"),
            (b"404", b"HTTP/1.1 404 Not Found\r\n"),
        ],
    )
    async def test_a_status_that_is_not_known_has_an_empty_phrase_rfc9112_4(self, line: bytes, sent: bytes) -> None:
        answer = b"HTTP/1.1 %b\r\nContent-Length: 2\r\n\r\nok" % line
        async with Origin(answering(answer)) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            for _ in range(2):
                _, head, body = await client.ask(get())
                assert head.startswith(sent)
                assert body == b"ok"

    async def test_interim_answers_are_passed_on_rfc9110_15_2(self) -> None:
        answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 P\r\n\r\n" + ok()
        async with Origin(answering(answer)) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(get("/", "Connection: close\r\n"))
            received = await client.rest()
            assert received.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
            assert received.endswith(b"ok")

    async def test_endless_interim_answers_end(self) -> None:
        async with Origin(answering(b"HTTP/1.1 102 P\r\n\r\n" * 1000)) as origin, Stage(origin.url) as stage:
            assert (await stage.ask(get()))[0] == 502

    async def test_head_has_a_length_and_no_body(self) -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"
        async with Origin(answering(answer)) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            for _ in range(2):
                status, head, _ = await client.ask(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", is_head=True)
                assert status == 200
                assert b"\r\nContent-Length: 1234\r\n" in head
            assert len(origin.connections) == 1

    @pytest.mark.parametrize("status", [204, 304])
    async def test_a_status_without_body_has_none(self, status: int) -> None:
        answer = b'HTTP/1.1 %d X\r\nETag: "a"\r\n\r\n' % status
        async with Origin(answering(answer)) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            for _ in range(2):
                found, head, _ = await client.ask(get())
                assert found == status
                assert b"Content-Length" not in head
                assert b"chunked" not in head
            assert len(origin.connections) == 1

    async def test_304_keeps_its_length(self) -> None:
        answer = b"HTTP/1.1 304 X\r\nContent-Length: 99\r\n\r\n"
        async with Origin(answering(answer)) as origin, Stage(origin.url) as stage:
            assert b"\r\nContent-Length: 99\r\n" in (await stage.ask(get()))[1]

    async def test_ended_by_closing_rfc9112_6_3_rule_8(self) -> None:
        async def script(connection: Connection) -> None:
            await connection.head()
            await connection.send(b"HTTP/1.0 200 OK\r\n\r\nhello ")
            await connection.send(b"world")

        async with Origin(script) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            for _ in range(2):
                status, head, body = await client.ask(get())
                assert (status, body) == (200, b"hello world")
                assert b"chunked" in head
            assert len(origin.connections) == 2

    async def test_http10_client_gets_no_chunks(self) -> None:
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1\r\n!\r\n"

        async def script(connection: Connection) -> None:
            await connection.head()
            await connection.send(answer)
            await connection.send(b"0\r\n\r\n")

        async with Origin(script) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(b"GET / HTTP/1.0\r\n\r\n")
            received = await client.rest()
            assert received.endswith(b"\r\n\r\nok!")
            assert b"chunked" not in received

    async def test_large_answer_arrives_whole(self) -> None:
        async with Origin(answering(ok(LARGE))) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            for _ in range(3):
                assert (await client.ask(get()))[2] == LARGE
            assert len(origin.connections) == 1

    async def test_slow_client_slows_the_upstream(self) -> None:
        size = 32 << 20
        written = 0

        async def script(connection: Connection) -> None:
            nonlocal written
            await connection.head()
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            while written < size:
                await connection.send(bytes(1 << 16))
                written += 1 << 16

        async with Origin(script) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            client.reader._limit = 1 << 16  # type: ignore[attr-defined]
            await client.send(get())
            await client.head()
            (server,) = stage.context.connections
            await until(lambda: server.is_write_paused)
            assert server.transport.get_write_buffer_size() < 1 << 20
            seen = -1
            while seen != written:
                seen = written
                for _ in range(20):
                    await asyncio.sleep(0.001)
            assert written < size // 2
            received = 0
            while received < size:
                received += len(await asyncio.wait_for(client.reader.read(1 << 20), WAIT_S))
            assert received == size

    async def test_client_that_leaves_ends_the_upstreams_work(self) -> None:
        async def script(connection: Connection) -> None:
            await connection.head()
            await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                await connection.send(b"1\r\na\r\n")
                await asyncio.sleep(0.001)

        async with Origin(script) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(get())
            await client.head()
            assert stage.loads == [1]
            client.close()
            await until(lambda: stage.loads == [0])

    async def test_client_that_leaves_before_the_answer_ends_the_upstreams_work(self) -> None:
        async with Origin(silent) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(get())
            await until(lambda: origin.seen)
            client.reset()
            await until(lambda: stage.loads == [0])

    async def test_pipelined_requests_keep_their_order(self) -> None:
        async with Origin(answering(ok(b"1"), ok(b"2"), ok(b"3"))) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(get() * 3)
            assert [(await client.answer())[2] for _ in range(3)] == [b"1", b"2", b"3"]
            assert len(origin.connections) == 1


class TestRelocation:
    async def test_location_of_the_target_becomes_ours(self) -> None:
        answer = b"HTTP/1.1 302 F\r\nLocation: http://%s/x?y\r\nContent-Length: 0\r\n\r\n"

        async def script(connection: Connection) -> None:
            head = await connection.head()
            host = head.partition(b"\r\nHost: ")[2].split(b"\r\n")[0]
            await connection.send(answer % host)

        async with Origin(script) as origin, Stage(origin.url, path="/api/**", strip_prefix=True) as stage:
            _, head, _ = await stage.ask(get("/api/a"))
            assert b"\r\nLocation: /api/x?y\r\n" in head

    async def test_cookie_path_gets_the_prefix(self) -> None:
        answer = ok(b"", b"Set-Cookie: a=b; path=/; HttpOnly\r\nSet-Cookie: c=d; Path=/x\r\n")
        async with Origin(answering(answer)) as origin, Stage(origin.url, path="/api/**", strip_prefix=True) as stage:
            _, head, _ = await stage.ask(get("/api/a"))
            assert b"Set-Cookie: a=b; path=/api; HttpOnly\r\n" in head or b"path=/api/; HttpOnly" in head
            assert b"Set-Cookie: c=d; Path=/api/x\r\n" in head
