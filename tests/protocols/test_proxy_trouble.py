"""Upstreams that misbehave: silent, slow, early, truncating, garbage, closing. What the client gets, what is tried
again, which connections are kept; every byte that an upstream saw is looked at (RFC 9112 §9).

Covers `web.handlers.proxy.connect` too.
"""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.protocols.proxying import Connection, Origin, Stage, answering, get, ok, post, silent, until
from tests.stage.ports import free_port


class TestNoAnswer:
    async def test_refused_connection_is_a_502_that_names_target_and_key(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        port = free_port()
        async with Stage(f"http://127.0.0.1:{port}") as stage:
            with caplog.at_level(logging.WARNING):
                assert (await stage.ask(get()))[0] == 502
            assert f"http://127.0.0.1:{port}" in caplog.text
            assert "proxy_pass" in caplog.text
            assert stage.loads == [0]

    async def test_silence_is_a_504_that_names_the_key(self, caplog: pytest.LogCaptureFixture) -> None:
        async with Origin(silent) as origin, Stage(origin.url, timeouts={"response": 7}) as stage:
            client = await stage.client()
            await client.send(get())
            await until(lambda: origin.seen)
            stage.pass_time(6)
            assert stage.loads == [1]
            with caplog.at_level(logging.WARNING):
                stage.pass_time(2)
                assert (await client.answer())[0] == 504
            assert "timeouts.response" in caplog.text
            assert origin.url in caplog.text
            assert stage.loads == [0]

    async def test_rule_timeout_counts_for_response(self, caplog: pytest.LogCaptureFixture) -> None:
        async with Origin(silent) as origin, Stage(origin.url, timeout=1) as stage:
            client = await stage.client()
            await client.send(get())
            await until(lambda: origin.seen)
            with caplog.at_level(logging.WARNING):
                stage.pass_time(2)
                assert (await client.answer())[0] == 504
            assert "(dispatch[0].timeout)" in caplog.text

    async def test_stalled_body_truncates_the_answer(self) -> None:
        async def script(connection: Connection) -> None:
            await connection.head()
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            await silent(connection)

        async with Origin(script) as origin, Stage(origin.url, timeouts={"read": 5}) as stage:
            client = await stage.client()
            await client.send(get())
            await client.head()
            stage.pass_time(6)
            assert await client.rest() == b"half"
            assert stage.loads == [0]
            assert len(origin.connections) == 1

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nx\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalfXX\r\n0\r\n\r\n",
        ],
        ids=["length", "chunks", "bad chunk", "chunk too long"],
    )
    async def test_truncated_answer_is_seen_as_such(self, answer: bytes) -> None:
        async def script(connection: Connection) -> None:
            await connection.head()
            await connection.send(answer[:-1])
            await connection.send(answer[-1:])

        async with Origin(script) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(get("/", "Connection: close\r\n"))
            rest = await client.rest()
            assert not rest.endswith(b"0\r\n\r\n")
            assert b"half" in rest or b"502" in rest
            assert not stage.proxy.upstream.targets[0].pool.idle

    @pytest.mark.parametrize(
        "answer",
        [
            b"garbage",
            b"garbage\r\n\r\n",
            b"HTTP/2 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
            b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX-A : b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX-A: b\r\n folded\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX-A: a\rX: b\r\n\r\n",
            b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
            b"",
        ],
    )
    async def test_bad_answer_is_a_502(self, answer: bytes) -> None:
        async def script(connection: Connection) -> None:
            await connection.head()
            await connection.send(answer)

        async with Origin(script) as origin, Stage(origin.url) as stage:
            assert (await stage.ask(get()))[0] == 502
            assert not stage.proxy.upstream.targets[0].pool.idle
            assert stage.loads == [0]
            assert len(origin.connections) == 1

    @pytest.mark.parametrize(
        "answer", [b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", b"HTTP/1.1 200 OK\r\nX: a\nB: c\r\n"]
    )
    async def test_a_bare_line_feed_is_not_waited_for(self, answer: bytes, caplog: pytest.LogCaptureFixture) -> None:
        """RFC 9112 §2.2; the upstream keeps its connection open."""

        async def script(connection: Connection) -> None:
            await connection.head()
            await connection.send(answer)
            await connection.head()

        async with Origin(script) as origin, Stage(origin.url) as stage:
            assert (await stage.ask(get()))[0] == 502
        assert "bare LF in the response's head" in caplog.text

    @pytest.mark.parametrize("status", [600, 999])
    async def test_a_status_from_600_up_is_passed_on(self, status: int) -> None:
        """RFC 9110 §15: it counts as a server error."""
        async with Origin(answering(ok().replace(b"200 OK", b"%d Denied" % status))) as origin:
            async with Stage(origin.url) as stage:
                for fields in ("", "If-None-Match: x\r\n"):  # without and with an exchange
                    assert (await stage.ask(get(fields=fields)))[0] == status
                row = stage.context.row
                row.publish()
                assert row.slots[row.slot("http.responses.5xx")] == 2

    @pytest.mark.parametrize("request_", [get(), get(fields="If-None-Match: x\r\n"), post(b"hello")])
    async def test_an_unexpected_error_while_connecting_is_a_500(
        self, request_: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """No task of ours ends without its client being told."""

        async def broken(*_: object, **__: object) -> None:
            raise RuntimeError("a fault of ours")

        monkeypatch.setattr("npserver.web.handlers.proxy.connect.dial", broken)
        async with Stage("http://127.0.0.1:1") as stage:
            client = await stage.client()
            for _ in range(2):  # the connection is kept
                assert (await client.ask(request_))[0] == 500
            assert stage.loads == [0]
        assert "a fault of ours" in caplog.text

    @pytest.mark.parametrize(
        ("answer", "hint"),
        [
            (b"\x15\x03\x01\x00\x02\x02\x46", "(TLS: is the target https?)"),
            (b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80", "(HTTP/2: is the target h2c?)"),
        ],
    )
    async def test_a_target_that_speaks_something_else_is_told(
        self, answer: bytes, hint: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def script(connection: Connection) -> None:
            await connection.head()
            await connection.send(answer)

        async with Origin(script) as origin, Stage(origin.url) as stage:
            assert (await stage.ask(get()))[0] == 502
        assert hint in caplog.text


class TestFailOver:
    """The next target: bodies are not lost, and nothing is repeated that must not be."""

    @staticmethod
    def _stage(*urls: str, **upstream: object) -> Stage:
        return Stage("upstream://app", config={"upstreams": {"app": {"targets": list(urls), **upstream}}})

    async def test_refused_connection_goes_on_to_the_next(self) -> None:
        async with Origin(answering(ok())) as origin:
            async with self._stage(f"http://127.0.0.1:{free_port()}", origin.url) as stage:
                for _ in range(4):
                    status, _, body = await stage.ask(post(b"hello"))  # even a POST: nothing was sent
                    assert (status, body) == (200, b"ok")
                assert stage.loads == [0, 0]
                first = stage.proxy.upstream.targets[0]
                row = stage.context.row
                row.publish()
                assert row.slots[row.slot(f"upstream.app.{first.uri}.requests")] == 1  # and is then marked down
                assert origin.seen.count(b"hello") == 4

    async def test_no_target_left_is_a_503_with_retry_after(self, caplog: pytest.LogCaptureFixture) -> None:
        async with self._stage(*[f"http://127.0.0.1:{free_port()}" for _ in range(2)]) as stage:
            for _ in range(2):
                status, head, _ = await stage.ask(get())
                assert status == 503
                assert b"\r\nRetry-After: 1\r\n" in head
            assert "(upstreams.app)" in caplog.text

    async def test_target_that_came_back_is_found(self) -> None:
        async with Origin(answering(ok())) as origin:
            async with self._stage(origin.url, f"http://127.0.0.1:{free_port()}") as stage:
                await origin.close()  # only now: its port must not become the stage's
                assert (await stage.ask(get()))[0] == 503
                await origin.open(origin.port)
                for target in stage.proxy.upstream.targets:
                    target.state.failed_at -= 1
                assert (await stage.ask(get()))[0] == 200

    async def test_repeatable_request_is_repeated_when_the_connection_breaks(self) -> None:
        async def breaking(connection: Connection) -> None:
            await connection.body(await connection.head())

        async with Origin(breaking) as bad, Origin(answering(ok())) as good:
            async with self._stage(bad.url, good.url) as stage:
                assert (await stage.ask(post(b"hello", method="PUT")))[0] == 200
                assert bad.seen.endswith(b"hello")
                assert good.seen.endswith(b"hello")

    async def test_a_post_is_not_repeated(self) -> None:
        async def breaking(connection: Connection) -> None:
            await connection.body(await connection.head())

        async with Origin(breaking) as bad, Origin(answering(ok())) as good:
            async with self._stage(bad.url, good.url) as stage:
                assert (await stage.ask(post(b"hello")))[0] == 502
                assert good.seen == b""

    async def test_chunked_body_is_repeated_whole(self) -> None:
        async def breaking(connection: Connection) -> None:
            await connection.head()
            await connection.exactly(8)

        async with Origin(breaking) as bad, Origin(answering(ok())) as good:
            async with self._stage(bad.url, good.url) as stage:
                client = await stage.client()
                await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
                await until(lambda: good.seen)
                await client.send(b"3\r\ndef\r\n0\r\n\r\n")
                assert (await client.answer())[0] == 200
                assert good.seen.endswith(b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")

    async def test_body_too_large_to_keep_is_not_repeated(self) -> None:
        async def breaking(connection: Connection) -> None:
            await connection.body(await connection.head())

        async with Origin(breaking) as bad, Origin(answering(ok())) as good:
            async with self._stage(bad.url, good.url) as stage:
                assert (await stage.ask(post(bytes(200_000), method="PUT")))[0] == 502
                assert good.seen == b""

    @pytest.mark.parametrize(("method", "expected"), [("GET", 200), ("POST", 503)])
    async def test_a_status_in_retry_on_is_repeated(self, method: str, expected: int) -> None:
        busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
        async with Origin(answering(busy)) as bad, Origin(answering(ok())) as good:
            async with self._stage(bad.url, good.url, retry_on=["503"]) as stage:
                assert (await stage.ask(post(b"x", method=method)))[0] == expected
                assert stage.loads == [0, 0]

    async def test_a_timeout_in_retry_on_is_repeated(self) -> None:
        async with Origin(silent) as bad, Origin(answering(ok())) as good:
            async with self._stage(bad.url, good.url, retry_on=["timeout"]) as stage:
                client = await stage.client()
                await client.send(get())
                await until(lambda: bad.seen)
                stage.pass_time(100)
                assert (await client.answer())[0] == 200

    async def test_retries_are_counted(self) -> None:
        async def breaking(connection: Connection) -> None:
            await connection.head()

        async with Origin(breaking) as one, Origin(breaking) as two, Origin(breaking) as three:
            async with self._stage(one.url, two.url, three.url, retries=1) as stage:
                assert (await stage.ask(get()))[0] == 502
                assert len(one.connections + two.connections + three.connections) == 2

    async def test_nothing_repeatable_is_lost_under_restarts(self) -> None:
        """One of two upstreams goes away and comes back over and over."""
        async with Origin(answering(ok())) as stable, Origin(answering(ok())) as flapping:
            async with self._stage(flapping.url, stable.url, retry_timeout_seconds=0) as stage:
                for turn in range(20):
                    statuses = await asyncio.gather(*[stage.ask(get(f"/{turn}/{one}")) for one in range(5)])
                    assert [status for status, _, _ in statuses] == [200] * 5
                    if turn % 2:
                        await flapping.open(flapping.port)
                    else:
                        await flapping.close()
                assert stage.loads == [0, 0]
