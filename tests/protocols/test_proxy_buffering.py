"""Requests whose bodies a proxy rule buffers until they are whole.

Covers `web.handlers.proxy.buffered_upload`.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import msgspec
import pytest

from tests.protocols.buffering import LARGE, secure
from tests.protocols.proxying import WAIT_S, Client, Connection, Origin, Stage, ok, post, silent, until

CHUNKED = b"%b / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n%b\r\n"


def chunked(*pieces: bytes, method: bytes = b"POST", fields: bytes = b"", trailers: bytes = b"") -> bytes:
    chunks = b"".join([b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces])
    return CHUNKED % (method, fields) + chunks + b"0\r\n" + trailers + b"\r\n"


async def echo(connection: Connection) -> None:
    """Answer with the length and the digest of the body."""
    while head := await connection.head():
        body = await connection.body(head)
        await connection.send(ok(b"%d %b" % (len(body), hashlib.md5(body).hexdigest().encode())))


def echoed(body: bytes) -> bytes:
    return b"%d %b" % (len(body), hashlib.md5(body).hexdigest().encode())


@contextmanager
def wsgi() -> Iterator[str]:
    """The WSGI server of the standard library, which reads no body without a length."""

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start("200 OK", [("Content-Type", "text/plain")])
        return [body]

    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
@pytest.mark.parametrize(("buffering", "body"), [(False, b""), (True, b"one two"), ({"memory": 1}, b"one two")])
async def test_a_wsgi_application_gets_uploads_without_a_length(
    certificates: Callable[..., Any], http2: bool, buffering: Any, body: bytes
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    with wsgi() as url:
        async with secure(certificates, url, request_buffering=buffering) as server:
            async with httpx.AsyncClient(base_url=server.url(), verify=False, http2=http2) as client:
                answer = await client.post("/", content=pieces())
    assert (answer.status_code, answer.content) == (200, body)


@pytest.mark.parametrize("memory", [0, 1000, 1 << 30])
async def test_no_connection_is_made_before_the_body_is_whole(tmp_path: Path, memory: int) -> None:
    async with Origin(echo) as origin:
        buffering = {"memory": memory, "directory": str(tmp_path)}
        async with Stage(origin.url, request_buffering=buffering) as stage:
            client = await stage.client()
            request = post(LARGE)
            await client.send(request[:-10])
            await until(lambda: stage.front.context.connections)
            for _ in range(3):
                await stage.ask(post(b"quick"))  # others do not wait
            assert len(origin.connections) == 1
            assert stage.loads == [0]
            assert list(tmp_path.iterdir()) == []
            await client.send(request[-10:])
            assert (await client.answer())[2] == echoed(LARGE)


@pytest.mark.parametrize("memory", [0, 7, 1 << 30])
async def test_equal_heads_may_have_bodies_of_different_lengths(memory: int) -> None:
    async with Origin(echo) as origin, Stage(origin.url, request_buffering={"memory": memory}) as stage:
        client = await stage.client()
        bodies = [b"", b"a", b"bcd", LARGE, b"efghijklm", b""]
        for _ in range(2):
            for body in bodies:
                assert (await client.ask(chunked(*([body] if body else []))))[2] == echoed(body)
        await client.send(b"".join([chunked(body) for body in bodies if body]))  # pipelined
        for body in bodies:
            if body:
                assert (await client.answer())[2] == echoed(body)
        assert b"chunked" not in origin.seen.lower()
        assert len(origin.connections) == 1


@pytest.mark.parametrize("memory", [0, 1000, 1 << 30])
async def test_large_ones_over_http2_too(certificates: Callable[..., Any], memory: int) -> None:
    """The client goes on when the file has taken what filled its window (RFC 9113 §5.2)."""
    async with Origin(echo) as origin:
        async with (
            secure(certificates, origin.url, request_buffering={"memory": memory}) as server,
            httpx.AsyncClient(base_url=server.url(), verify=False, http2=True) as client,
        ):
            async with asyncio.timeout(WAIT_S):
                assert (await client.put("/", content=LARGE)).content == echoed(LARGE)


async def test_an_expected_100_is_sent_here() -> None:
    async with Origin(echo) as origin, Stage(origin.url, request_buffering=True) as stage:
        client = await stage.client()
        await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert (await client.head()).startswith(b"HTTP/1.1 100 ")
        assert origin.connections == []
        await client.send(b"body")
        assert (await client.answer())[2] == echoed(b"body")
        assert b"expect" not in origin.seen.lower()


async def test_trailers_are_dropped_with_their_announcement() -> None:
    """A body with a length has none (RFC 9112 §7.1.2)."""
    async with Origin(echo) as origin, Stage(origin.url, request_buffering=True) as stage:
        data = chunked(b"body", fields=b"Trailer: X-Sum\r\nX-Kept: 1\r\n", trailers=b"X-Sum: 1\r\n")
        assert (await stage.ask(data))[2] == echoed(b"body")
        assert b"X-Kept: 1\r\n" in origin.seen
        assert b"X-Sum" not in origin.seen


@pytest.mark.parametrize(("method", "status"), [(b"PUT", 200), (b"POST", 502)])
async def test_a_whole_body_is_sent_to_another_target_where_the_method_allows(
    tmp_path: Path, method: bytes, status: int
) -> None:
    """RFC 9110 §9.2.2."""

    async def cut(connection: Connection) -> None:
        await connection.head()
        await connection.exactly(len(LARGE))

    async with Origin(cut) as first, Origin(echo) as second:
        upstreams = {"app": {"targets": [first.url, {"uri": second.url, "backup": True}]}}
        buffering = {"memory": 1000, "directory": str(tmp_path)}
        config = {"upstreams": upstreams}
        async with Stage("upstream://app", config=config, request_buffering=buffering) as stage:
            answer = await stage.ask(chunked(LARGE, method=method))
        assert answer[0] == status
        assert first.connections
        assert (answer[2] == echoed(LARGE)) is (status == 200)
        assert len(second.connections) == (status == 200)


async def test_a_slow_upstream_gets_it_as_it_reads(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def slow(connection: Connection) -> None:
        await connection.head()
        await gate.wait()
        body = await connection.exactly(len(LARGE) * 4)
        await connection.send(ok(echoed(body)))

    async with Origin(slow) as origin:
        buffering = {"memory": 1000, "directory": str(tmp_path)}
        async with Stage(origin.url, request_buffering=buffering) as stage:
            client = await stage.client()
            await client.send(post(LARGE * 4))
            await until(lambda: origin.connections)
            gate.set()
            assert (await client.answer())[2] == echoed(LARGE * 4)


@pytest.mark.parametrize("memory", [0, 1 << 30])
async def test_a_client_that_leaves_reaches_no_upstream(tmp_path: Path, memory: int) -> None:
    async with Origin(echo) as origin:
        buffering = {"memory": memory, "directory": str(tmp_path)}
        async with Stage(origin.url, request_buffering=buffering) as stage:
            for leave in (Client.close, Client.reset):
                client = await stage.client()
                await client.send(post(LARGE)[:-1])
                leave(client)
            await until(lambda: not stage.context.connections)
            assert origin.connections == []
            assert stage.loads == [0]


async def test_a_body_over_the_limit_reaches_no_upstream() -> None:
    async with Origin(echo) as origin, Stage(origin.url, request_buffering=True) as stage:
        stage.route = msgspec.structs.replace(stage.route, max_body_size=1000)
        status, _, _ = await stage.ask(chunked(bytes(1001)))
        assert status == 413
        assert origin.connections == []


async def test_an_unreachable_upstream_is_a_502() -> None:
    async with Origin(echo) as origin:
        pass
    async with Stage(origin.url, request_buffering=True) as stage:
        assert (await stage.ask(chunked(b"x")))[0] == 502


async def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path, caplog: Any) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    async with Origin(echo) as origin:
        buffering = {"memory": 10, "directory": str(spool)}
        async with Stage(origin.url, request_buffering=buffering) as stage:
            spool.rmdir()
            assert (await stage.ask(post(LARGE)))[0] == 500
            assert "no such file or directory (dispatch[0].request_buffering)" in caplog.text
            assert (await stage.ask(post(bytes(10))))[0] == 200


async def test_an_upstream_that_reads_nothing_meets_its_timeout(tmp_path: Path) -> None:
    async with Origin(lambda connection: asyncio.Event().wait()) as origin:  # type: ignore[arg-type,return-value]
        buffering = {"memory": 0, "directory": str(tmp_path)}
        async with Stage(origin.url, request_buffering=buffering, timeouts={"send": 30}) as stage:
            client = await stage.client()
            await client.send(post(LARGE * 5))
            await until(lambda: stage.loads == [1])
            target = stage.proxy.upstream.targets[0]
            await until(lambda: any(getattr(one, "is_write_paused", False) for one in stage.context.sweeper.watched))
            stage.pass_time(40)
            assert (await client.answer())[0] == 504
            assert target.load == 0


async def test_a_silent_upstream_meets_its_timeout() -> None:
    async with Origin(silent) as origin, Stage(origin.url, request_buffering=True) as stage:
        client = await stage.client()
        await client.send(chunked(b"body"))
        await until(lambda: b"body" in origin.seen)
        await until(lambda: any(getattr(one, "is_request_done", False) for one in stage.context.sweeper.watched))
        stage.pass_time(70)
        assert (await client.answer())[0] == 504
