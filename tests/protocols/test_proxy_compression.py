"""Answers of real upstreams compressed on their way to real clients, beside what nginx makes of the same answers."""

from __future__ import annotations

import asyncio
import gc
import gzip
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

import npserver
from npserver.upstream.connection_state import CLOSED
from npserver.upstream.http1 import HttpClient
from npserver.web.middleware.compress.filter import CompressionFilter
from tests.protocols.proxying import Client, Connection, Origin, Script, answering, get, ok, until
from tests.stage.decoding import decoder
from tests.stage.nginx import running_nginx
from tests.stage.programs import needs

JSON = b"Content-Type: application/json\r\n"
BODY = b'{"numbers": [' + b", ".join([b"%d" % number for number in range(300)]) + b"]}"
CODED = "Accept-Encoding: gzip\r\n"
NGINX = """location / {
    proxy_pass ORIGIN; proxy_http_version 1.1; gzip on; gzip_proxied any; gzip_http_version 1.0; gzip_vary on;
    gzip_min_length 256; gzip_types application/json text/event-stream; } """


@asynccontextmanager
async def proxying(script: Script, gzip: Any = True, **keys: Any) -> AsyncIterator[Any]:
    """Serve a rule that compresses the answers of `script`; yield the server, which knows its `origin`."""
    config = keys.pop("config", {})
    async with Origin(script) as origin:
        rule = {"handler": "proxy", "proxy_pass": origin.url, "gzip": gzip, **keys}
        listen = ["http://127.0.0.1:0"]
        async with npserver.serve({"listen": listen, "dispatch": [rule], **config}, shutdown_s=0) as server:
            server.origin = origin  # type: ignore[attr-defined]
            yield server


async def client_of(url: str) -> Client:
    parts = urlsplit(url)
    return Client(*await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 20))


async def ask(url: str, request: bytes, *, is_head: bool = False) -> tuple[int, bytes, bytes]:
    client = await client_of(url)
    try:
        return await client.ask(request, is_head=is_head)
    finally:
        client.close()


def fields_of(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:-2]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


# ── which answers, beside nginx ──

STATUSES = (200, 201, 204, 206, 304, 400, 401, 403, 404, 410, 500)
FIELDS = {
    "json": JSON,
    "html": b"Content-Type: text/html\r\n",
    "image": b"Content-Type: image/png\r\n",
    "none": b"",
    "coded": JSON + b"Content-Encoding: br\r\n",
    "no-transform": JSON + b"Cache-Control: no-transform\r\n",
    "digest": JSON + b"Content-Digest: sha-256=:AA==:\r\n",
    "range": JSON + b"Content-Range: bytes 0-9/10\r\n",
    "vary": JSON + b'Vary: Origin\r\nETag: "a"\r\nAccept-Ranges: bytes\r\n',
}
CASES = [(status, method, name) for status in STATUSES for method in ("GET", "HEAD", "POST") for name in FIELDS]


def nginx_differs(status: int, _: str, name: str) -> bool:
    """Return whether we compress what nginx does not, or the other way round."""
    ours = status not in (204, 206, 304) and name in ("json", "html", "vary")
    theirs = status in (200, 403, 404)  # and no others
    if name in ("no-transform", "digest", "range"):
        return theirs  # RFC 9111 §5.2.2.6; a digest, and a range, is of the bytes that the upstream sends
    return ours and not theirs


async def by_case(connection: Connection) -> None:
    while head := await connection.head():
        await connection.body(head)
        number = int(head.split(b" ")[1].rpartition(b"/")[2])
        status, method, name = CASES[number]
        length = b"" if status in (204, 304) else b"Content-Length: %d\r\n" % len(BODY)
        body = b"" if method == "HEAD" or status in (204, 304) else BODY
        await connection.send(b"HTTP/1.1 %d X\r\n%b%b\r\n%b" % (status, FIELDS[name], length, body))


@needs("nginx")
async def test_the_same_answers_are_compressed_as_by_nginx_but_for_known_ones(tmp_path: Path) -> None:
    async def decisions(url: str) -> tuple[list[bool], list[bytes]]:
        client = await client_of(url)
        are_coded, bodies = [], []
        for number, (status, method, _) in enumerate(CASES):
            request = f"{method} /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n{CODED}\r\n".encode()
            got, head, body = await client.ask(request, is_head=method == "HEAD")
            assert got == status
            fields = fields_of(head)
            are_coded.append(fields.get("content-encoding") == "gzip")
            bodies.append(gzip.decompress(body) if are_coded[-1] and body else body)
            if are_coded[-1]:
                assert ("content-length" in fields) == (method != "HEAD" and "transfer-encoding" not in fields)
                assert fields.get("etag", "W/").startswith("W/")
                assert "accept-ranges" not in fields
        client.close()
        return are_coded, bodies

    async with proxying(by_case, {"codings": ["gzip"]}) as server:
        with running_nginx(tmp_path, NGINX.replace("ORIGIN", server.origin.url)) as nginx:
            theirs, their_bodies = await decisions(nginx)
        ours, our_bodies = await decisions(server.url())
    assert our_bodies == their_bodies
    differing = [case for case, one, other in zip(CASES, ours, theirs, strict=True) if one is not other]
    assert differing == [case for case in CASES if nginx_differs(*case)]
    assert sum(ours) > 50


@pytest.mark.parametrize(
    ("asked", "coding"),
    [
        ("", ""),
        ("Accept-Encoding: \r\n", ""),
        ("Accept-Encoding: gzip, deflate, br, zstd\r\n", "zstd"),
        ("Accept-Encoding: gzip;q=1, br;q=0.5\r\n", "gzip"),
        ("Accept-Encoding: br\r\nAccept-Encoding: gzip;q=0.9\r\n", "br"),
        ("Accept-Encoding: gzip;q=0\r\n", ""),
        ("Accept-Encoding: deflate\r\n", ""),
        ("Accept-Encoding: x-gzip\r\n", "gzip"),
        ("Accept-Encoding: identity;q=0\r\n", ""),  # the answer is better than none
        ("Accept-Encoding: gzip\r\nCache-Control: no-transform\r\n", ""),
        (f"Accept-Encoding: {'a, ' * 200}gzip\r\n", ""),  # beyond the elements that are read
    ],
)
async def test_the_client_says_which_coding(asked: str, coding: str) -> None:
    async with proxying(answering(ok(BODY, JSON + b"Vary: Origin\r\n"))) as server:
        status, head, body = await ask(server.url(), get(fields=asked))
    fields = fields_of(head)
    assert (status, fields.get("content-encoding", "")) == (200, coding)
    assert fields["vary"] == "Origin, Accept-Encoding"
    assert (body == BODY) == (coding == "")


@pytest.mark.parametrize(
    ("gzip", "config", "is_coded"),
    [
        (True, {}, True),
        (False, {}, False),
        (None, {}, False),
        (None, {"gzip": True}, False),
        (None, {"gzip": {"proxied": True, "codings": ["gzip"]}}, True),
        (None, {"gzip": {"proxied": True, "enabled": False}}, False),
        (False, {"gzip": {"proxied": True}}, False),
        (True, {"gzip": False}, True),
        (True, {"gzip": {"codings": ["br"]}}, False),
        (True, {"gzip": {"enabled": False}}, True),
        ({"min_size": len(BODY)}, {}, True),
        ({"min_size": len(BODY) + 1}, {"gzip": {"proxied": True}}, False),
        ({"enabled": False}, {}, False),
    ],
)
async def test_the_config_says_whether(gzip: Any, config: dict[str, Any], is_coded: bool) -> None:
    async with proxying(answering(ok(BODY, JSON)), gzip, config=config) as server:
        _, head, _ = await ask(server.url(), get(fields=CODED))
    assert ("content-encoding" in fields_of(head)) is is_coded


# ── how it comes ──


def in_pieces(type_: bytes, turns: asyncio.Queue[bytes]) -> Script:
    """Answer without a length, and send a piece whenever a test puts one."""

    async def script(connection: Connection) -> None:
        await connection.head()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % type_)
        while piece := await turns.get():
            await connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await connection.send(b"0\r\nX-Sum: 1\r\n\r\n")
        await connection.read()

    return script


class Decoding:
    """A client that decodes what has come of a chunked answer in gzip."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._decode = decoder("gzip")

    async def until(self, expected: bytes) -> bool:
        received = b""
        while received != expected:
            assert expected.startswith(received)
            size = int(await asyncio.wait_for(self.client.reader.readline(), 30), 16)
            data = (await self.client.reader.readexactly(size + 2))[:-2]
            received += self._decode(data)
        return True


@pytest.mark.parametrize("media_type", [b"text/event-stream", b"application/json", b"text/plain"])
async def test_each_piece_arrives_before_the_next_is_sent(media_type: bytes) -> None:
    turns: asyncio.Queue[bytes] = asyncio.Queue()
    async with proxying(in_pieces(media_type, turns)) as server:
        client = await client_of(server.url())
        await client.send(get(fields=CODED))
        head = await client.head()  # before there is any piece (caddy #6293)
        assert fields_of(head)["content-encoding"] == "gzip"
        decoding = Decoding(client)
        for number in range(5):
            turns.put_nowait(b"data: %d\n\n" % number)
            assert await decoding.until(b"data: %d\n\n" % number)
        turns.put_nowait(b"")
        assert (await client.reader.readuntil(b"X-Sum: 1\r\n\r\n")).count(b"\r\n0\r\n") == 1
        client.close()


async def test_pieces_are_not_held_over_http2(certificates: Callable[..., Any]) -> None:
    turns: asyncio.Queue[bytes] = asyncio.Queue()
    issued = certificates()
    async with Origin(in_pieces(b"text/event-stream", turns)) as origin:
        listener = {"uri": "https://127.0.0.1:0", "tls": {"cert": str(issued.cert), "key": str(issued.key)}}
        rule = {"handler": "proxy", "proxy_pass": origin.url, "gzip": True}
        async with (
            npserver.serve({"listen": [listener], "dispatch": [rule]}, shutdown_s=0) as server,
            httpx.AsyncClient(http2=True, verify=False) as client,
            client.stream("GET", server.url(), headers={"Accept-Encoding": "gzip"}) as answer,
        ):
            assert (answer.http_version, answer.headers["content-encoding"]) == ("HTTP/2", "gzip")
            pieces = answer.aiter_bytes()
            for number in range(3):
                turns.put_nowait(b"data: %d\n\n" % number)
                assert await anext(pieces) == b"data: %d\n\n" % number
            turns.put_nowait(b"")
            assert [piece async for piece in pieces] in ([], [b""])


async def large(connection: Connection) -> None:
    while await connection.head():
        await connection.send(b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n" % JSON)
        for _ in range(100):
            await connection.send(b"%x\r\n%b\r\n" % (len(BODY * 20), BODY * 20))
        await connection.send(b"0\r\n\r\n")


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
@pytest.mark.parametrize("buffering", [False, {"memory": "4k"}])
async def test_large_answers_come_whole(coding: str, buffering: Any) -> None:
    async with (
        proxying(large, {"codings": [coding]}, response_buffering=buffering) as server,
        httpx.AsyncClient(base_url=server.url(), headers={"Accept-Encoding": coding}) as client,
    ):
        for _ in range(2):
            async with client.stream("GET", "/") as answer:
                body = b"".join([piece async for piece in answer.aiter_raw()])
            assert answer.headers["content-encoding"] == coding
            assert decoder(coding)(body) == BODY * 2000


async def test_a_client_of_http_1_0_reads_until_the_end() -> None:
    async with proxying(large) as server:
        client = await client_of(server.url())
        await client.send(b"GET / HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n")
        head, _, body = (await client.rest()).partition(b"\r\n\r\n")
        client.close()
    assert fields_of(head + b"\r\n\r\n").keys().isdisjoint({"content-length", "transfer-encoding"})
    assert gzip.decompress(body) == BODY * 2000


async def test_an_answer_that_breaks_off_is_seen_to_be_cut() -> None:
    async def broken(connection: Connection) -> None:
        await connection.head()
        await connection.send(b"HTTP/1.1 200 OK\r\n%bContent-Length: 9999999\r\n\r\n%b" % (JSON, BODY))

    async with proxying(broken) as server:
        client = await client_of(server.url())
        await client.send(get(fields=CODED))
        await client.head()
        assert not (await client.rest()).endswith(b"0\r\n\r\n")
        client.close()


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_an_upstream_waits_for_a_client_that_does_not_read(coding: str) -> None:
    body = os.urandom(16 << 20)  # more than the sockets hold, compressed too

    async def sending(connection: Connection) -> None:
        await connection.head()
        await connection.send(ok(body, b"Content-Type: text/plain\r\n"))

    async with proxying(sending, {"codings": [coding]}) as server:
        client = await client_of(server.url())
        await client.send(get(fields=f"Accept-Encoding: {coding}\r\n"))
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: server.origin.connections)
        [upstream] = [one for one in gc.get_objects() if type(one) is HttpClient and one.state is not CLOSED]
        await until(lambda: not upstream._is_reading)
        client.reader._transport.resume_reading()  # type: ignore[attr-defined]
        assert decoder(coding)((await client.answer())[2]) == body
        client.close()
        assert upstream._is_reading


async def test_a_client_that_leaves_ends_the_compression(caplog: pytest.LogCaptureFixture) -> None:
    turns: asyncio.Queue[bytes] = asyncio.Queue()
    async with proxying(in_pieces(b"text/plain", turns)) as server:
        client = await client_of(server.url())
        await client.send(get(fields=CODED))
        await client.head()
        turns.put_nowait(b"a")
        assert await Decoding(client).until(b"a")
        turns.put_nowait(b"b")
        client.reset()
        connection = server.origin.connections[0]
        await until(lambda: connection.reader.at_eof() or connection.reader.exception())
        assert not [one for one in gc.get_objects() if type(one) is CompressionFilter and one._coder is not None]
    assert caplog.text == ""


async def test_empty_answers_are_left_alone() -> None:
    async with proxying(answering(ok(b"", JSON)), {"min_size": 0}) as server:
        status, head, body = await ask(server.url(), get(fields=CODED))
    assert (status, body, "content-encoding" in fields_of(head)) == (200, b"", False)


# ── with other parts ──


@needs("nginx")
async def test_a_weakened_tag_matches_again(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes(BODY)
    with running_nginx(tmp_path, "location / {}") as nginx:
        rule = {"handler": "proxy", "proxy_pass": nginx, "gzip": True}
        async with npserver.serve({"listen": ["http://127.0.0.1:0"], "dispatch": [rule]}, shutdown_s=0) as server:
            first = fields_of((await ask(server.url(), get("/a.html", CODED)))[1])
            again = get("/a.html", f"{CODED}If-None-Match: {first['etag']}\r\n")
            status, head, _ = await ask(server.url(), again)
            plain = fields_of((await ask(server.url(), get("/a.html")))[1])
    assert (first["etag"], first["content-encoding"]) == ("W/" + plain["etag"], "gzip")
    assert plain["vary"] == "Accept-Encoding"
    assert (status, fields_of(head)["etag"], fields_of(head)["vary"]) == (304, first["etag"], "Accept-Encoding")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_error_pages_are_compressed_whole(method: str, tmp_path: Path) -> None:
    (tmp_path / "down.html").write_bytes(b"<p>down</p>" * 100)

    async def gone(connection: Connection) -> None:
        await connection.head()

    pages = {"502": str(tmp_path / "down.html")}
    async with proxying(gone, error_pages=pages, response_headers={"X-Id": "$request_id"}) as server:
        request = f"{method} / HTTP/1.1\r\nHost: a\r\n{CODED}\r\n".encode()
        client = await client_of(server.url())
        for _ in range(2):
            status, head, body = await client.ask(request, is_head=method == "HEAD")
            fields = fields_of(head)
            assert (status, fields["content-encoding"], len(fields["x-id"])) == (502, "gzip", 32)
            if method == "GET":
                assert gzip.decompress(body) == b"<p>down</p>" * 100
            else:
                assert "content-length" not in fields
        client.close()


async def test_compressed_bytes_are_counted() -> None:
    rules = [{"handler": "status", "path": "/status"}]
    async with Origin(answering(ok(BODY, JSON))) as origin:
        rules.append({"handler": "proxy", "proxy_pass": origin.url, "gzip": True})  # type: ignore[dict-item]
        async with npserver.serve({"listen": ["http://127.0.0.1:0"], "dispatch": rules}, shutdown_s=0) as server:
            body = (await ask(server.url(), get("/x", CODED)))[2]
            await ask(server.url(), get("/x"))
            await ask(server.url(), b"HEAD /x HTTP/1.1\r\nHost: a\r\n%b\r\n" % CODED.encode(), is_head=True)
            shown = (await ask(server.url(), get("/status", "Accept: text/plain\r\n")))[2].decode()
    counts = {line.split(" ")[0]: line.split(" ")[1] for line in shown.splitlines() if " " in line and line[0] != "#"}
    found = [counts[f"npserver_http_compressed_{name}_total"] for name in ("responses", "read_bytes", "sent_bytes")]
    assert found == ["1", str(len(BODY)), str(len(body))]
