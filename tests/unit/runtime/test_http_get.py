"""One GET over HTTP: real servers that answer well, badly, slowly, or without end.

Covers `runtime.http_get`.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from npserver.runtime.http_get import NoAnswer, get, get_status, parse_url
from tests.stage.answering import answering
from tests.stage.serving import forgiving

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
LIMITS: Any = {"timeout_s": 30, "max_bytes": 1000}


@pytest.mark.parametrize(
    "pieces",
    [
        (OK + b"Content-Length: 8\r\n\r\n9.9.9.9\n",),
        (OK + b"\r\n9.9.9.9\n",),  # until the end of the connection
        (OK, b"Content-Length: 8\r\n", b"\r\n9.9", b".9.9\n"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\n9.9.\r\n", b"4\r\n9.9\n\r\n0\r\n\r\n"),
        (b"HTTP/1.0 200 OK\r\n\r\n9.9.9.9\n",),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK + b"\r\n9.9.9.9\n",),
        (OK + b"Content-Length: 8\r\n\r\n9.9.9.9\nand what follows is not part of it",),
    ],
)
async def test_an_answer_is_read_whole(pieces: tuple[bytes, ...]) -> None:
    async with answering(*pieces) as (url, requests):
        assert await get(url.with_query("form", "text"), **LIMITS) == b"9.9.9.9\n"
    assert requests[0].startswith(b"GET /may?form=text HTTP/1.1\r\n")
    assert b"\r\nHost: %b\r\n" % url.host.encode() in requests[0]


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ((OK + b"\r\n" + b"9" * (1 << 20),), "the answer is longer than 1000 bytes"),
        ((OK + b"Content-Length: 99999999\r\n\r\n" + b"9" * (1 << 20),), "the answer is longer than"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n9\r\n" * (1 << 18),), "the answer is longer than"),
        ((OK + b"X-Long: " + b"x" * (1 << 20),), "the head of the answer is longer than 64 KiB"),
        ((b"9.9.9.9\r\n\r\n",), "the answer is not HTTP: bad status line"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n" * 20,), "the answer is not HTTP: more than 8 interim responses"),
        ((OK + b"Content-Length: 7\r\nContent-Length: 8\r\n\r\n9.9.9.9",), "the answer is not HTTP: two Content-Le"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\nx\r\n",), "the answer is not HTTP: "),
        ((OK + b"Content-Length: 8\r\n\r\n9.9.9.9",), "the answer ends in the middle"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n7\r\n9.9.9.9\r\n",), "the answer ends in the middle"),
        ((OK,), "the connection is closed before the end of the answer's head"),
        ((), "the connection is closed before the end of the answer's head"),
    ],
)
async def test_anything_else_is_none_with_the_reason(pieces: tuple[bytes, ...], reason: str) -> None:
    async with answering(*pieces) as (url, _):
        with pytest.raises(NoAnswer, match=re.escape(reason)) as error:
            await get(url, **LIMITS)
    assert not error.value.is_late


@pytest.mark.parametrize(
    ("location", "place"),
    [
        ("https://user:secret@elsewhere.example/token/list.txt?key=secret", "elsewhere"),
        ("https://elsewhere.example/token/list.txt?key=secret", "at https://elsewhere.example:443"),
        ("/token/list.txt", "at another path"),
        ("://", "elsewhere"),
    ],
)
async def test_where_a_redirect_leads_is_told_without_secrets(location: str, place: str) -> None:
    answer = f"HTTP/1.1 301 X\r\nlocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
    async with answering(answer) as (url, _):
        with pytest.raises(NoAnswer) as error:
            await get(url, **LIMITS)
    assert str(error.value) == f"status 301 instead of 200: what it names is {place}, and redirects are not followed"


@pytest.mark.parametrize("status", [200, 204, 302, 404, 500])
async def test_the_status_is_that_of_the_answer_itself(status: int) -> None:
    """No redirect is followed (RFC 9110 §15.4: following them is a choice)."""
    answer = b"HTTP/1.1 %d X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n" % status
    async with answering(answer) as (url, _):
        if status == 200:
            assert await get(url, **LIMITS) == b""
        else:
            moved = ": what it names is at http://127.0.0.1:1, and redirects are not followed" if status == 302 else ""
            with pytest.raises(NoAnswer, match=rf"^status {status} instead of 200{moved}$"):
                await get(url, **LIMITS)
        assert await get_status(url, timeout_s=30) == status


@pytest.mark.parametrize("rest", [b"Content-Length: 9\r\n\r\nyes", b"Transfer-Encoding: chunked\r\n\r\nno chunk\r\n"])
async def test_the_status_counts_whatever_comes_of_the_body(rest: bytes) -> None:
    async with answering(OK + rest) as (url, _):
        assert await get_status(url, timeout_s=30) == 200
    async with answering(OK + rest, stays=True) as (url, _):
        assert await get_status(url, timeout_s=0.1) == 200


async def test_of_a_huge_body_little_is_read_for_the_status() -> None:
    taken = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"\r\n")
        try:
            while len(taken) < 1024:
                writer.write(bytes(65536))
                await writer.drain()
                taken.append(65536)
        except OSError:
            pass  # the client has closed
        writer.close()

    async with await asyncio.start_server(forgiving(serve), "127.0.0.1", 0) as server:
        url = parse_url(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert await get_status(url, timeout_s=30) == 200
    assert len(taken) < 512  # what the kernel's buffers hold


@pytest.mark.parametrize("pieces", [(), (OK,), (OK + b"Content-Length: 7\r\n\r\n9.9.9.",)])
async def test_a_server_that_does_not_go_on_has_a_time_limit(pieces: tuple[bytes, ...]) -> None:
    async with answering(*pieces, stays=True) as (url, _):
        with pytest.raises(NoAnswer, match=r"^no answer within 0\.1 s$") as error:
            await get(url, timeout_s=0.1, max_bytes=1000)
    assert error.value.is_late


async def test_a_server_that_is_down_gives_none(free_port: Callable[[], int]) -> None:
    with pytest.raises(NoAnswer, match=r"(?i)refused|connect"):
        await get(parse_url(f"http://127.0.0.1:{free_port()}/"), **LIMITS)


async def test_a_server_without_addresses_of_the_version_gives_none() -> None:
    async with answering(OK + b"\r\n9.9.9.9") as (url, requests):
        assert await get(url, ip_version=4, **LIMITS) == b"9.9.9.9"
        with pytest.raises(NoAnswer):
            await get(url, ip_version=6, **LIMITS)
    assert len(requests) == 1


async def test_a_unix_socket(socket_dir: Path) -> None:
    async with answering(OK + b"\r\nyes", path=socket_dir / "app.sock") as (url, requests):
        assert await get(url, **LIMITS) == b"yes"
    assert requests[0].startswith(b"GET /may HTTP/1.1\r\nHost: localhost\r\n")


async def test_https_is_verified(certificates: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    issued = certificates("127.0.0.1")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(issued.config["cert"], issued.config["key"])
    async with answering(OK + b"\r\n9.9.9.9", tls=tls) as (url, requests):
        with pytest.raises(NoAnswer, match=r"(?i)certificate verify failed"):
            await get(url, **LIMITS)
        assert requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(issued.ca))
        assert await get(url, **LIMITS) == b"9.9.9.9"


@pytest.mark.parametrize(
    ("url", "path", "host"),
    [
        ("http://127.0.0.1:5000/may", "/may?a=b", "127.0.0.1:5000"),
        ("https://app.example.com", "/?a=b", "app.example.com"),
        ("https://[::1]/a?key=1", "/a?key=1&a=b", "[::1]"),
        ("unix:///run/app.sock", "/?a=b", "localhost"),
        ("unix:///run/app.sock:/may?key=1", "/may?key=1&a=b", "localhost"),
    ],
)
def test_urls(url: str, path: str, host: str) -> None:
    found = parse_url(url)
    assert (found.with_query("a", "b").target, found.host) == (path, host)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("127.0.0.1:5000", "scheme missing in '127.0.0.1:5000', expected as in 'http://127.0.0.1:5000'"),
        ("ftp://a", "expected a URL that begins with http://, https:// or unix://, got 'ftp://a'"),
        ("upstream://a", "expected a URL that begins with http://, https:// or unix://"),
        ("tcp://a:1", "expected a URL that begins with http://, https:// or unix://"),
        ("unixgram:///a", "expected a URL that begins with"),
        ("http://me@a/", "an address has no user name"),
        ("http://a/b c", "blank or control character"),
        ("http://a/b?c d", "expected a path that begins with '/' and has no blanks"),
        ("http://a/\r\nX: y", "blank or control character"),
        ("unix:///run/a:may", "expected a path that begins with '/'"),
        ("http://a:0", "port 0"),
    ],
)
def test_what_is_no_url(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_url(url)


def test_what_may_be_a_secret_is_in_no_message() -> None:
    assert "secret" not in repr(parse_url("https://a.example/may?token=secret"))
    for url in (
        "http://joe:secret@a/",
        "joe:secret@a",
        "ftp://joe:secret@a",
        "tcp://joe:secret@a:1",
        "http://a/b?secret c",
    ):
        with pytest.raises(ValueError) as raised:
            parse_url(url)
        assert "secret" not in str(raised.value)
