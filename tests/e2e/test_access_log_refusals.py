"""Every answer has a line in the access log, those to bytes that are no request too: fail2ban reads them."""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h2.connection
import pytest

from tests.stage.program import Program
from tests.stage.waiting import wait_until

DEADLINE_S = 30.0

#: Requests that are refused, and their statuses.
REFUSED = [
    (b"nonsense\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
    (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    (b"GET /\x1b[31m HTTP/1.1\r\nHost: a\r\n", 408),
    (b'\x1b[31m"\x9b / HTTP/1.1\r\nHost: \x1b[31m"\r\nUser-Agent: \x1b[31m"\r\n\r\n', 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n", 413),
    (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417),
    (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
]


def answer(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as client:
        client.sendall(data)
        received = b""
        while piece := client.recv(65536):
            received += piece
        return received


def lines(log: Path, count: int) -> list[str]:
    """Return the lines of the log, once there are `count`."""

    def found() -> list[str]:
        lines = log.read_text().splitlines()
        return lines if len(lines) >= count else []

    return wait_until(found, f"{count} lines in the log", DEADLINE_S, log.read_text, directory=log.parent)


@pytest.mark.parametrize("form", ["pretty", "json", "combined"])
def test_of_http1(program: Callable[..., Program], free_port: Callable[[], int], tmp_path: Path, form: str) -> None:
    port = free_port()
    config = {
        "listen": [f"http://127.0.0.1:{port}"],
        "dispatch": [{"handler": "respond", "body": "x"}],
        "workers": 1,  # each writes its lines a few times a second
        "limits": {"max_body_size": 1000},
        "timeouts": {"header": "200ms"},
        "logging": {"access_log": str(tmp_path / "log"), "format": form},
    }
    program(config=config)
    for data, status in REFUSED:
        assert answer(port, data).startswith(b"HTTP/1.1 %d " % status)
    found = lines(tmp_path / "log", len(REFUSED))
    expected = [status for _, status in REFUSED]
    if form == "json":
        entries = [json.loads(line) for line in found]
        assert [one["status"] for one in entries] == expected
        assert [one["method"] for one in entries[:4]] == ["-", "GET", "GET", "TRACE"]
        assert all(one["client_ip"] == "127.0.0.1" and one["sent_bytes"] for one in entries)
    else:
        assert [int(re.search(r" (\d{3}) ", line)[1]) for line in found] == expected  # type: ignore[index]
    assert "".join(found).isprintable()
    if form == "combined":
        assert any(r'"\x1b[31m\"\x9b / HTTP/1.1" 400 ' in line for line in found)


@pytest.mark.parametrize("form", ["pretty", "json", "combined"])
def test_utf8_is_readable(
    program: Callable[..., Program], free_port: Callable[[], int], tmp_path: Path, form: str
) -> None:
    """Of answered and of refused requests; control characters and bytes that are not UTF-8 are escaped."""
    port = free_port()
    config = {
        "listen": [f"http://127.0.0.1:{port}"],
        "dispatch": [{"handler": "respond", "body": "x"}],
        "workers": 1,
        "logging": {"access_log": str(tmp_path / "log"), "format": form},
    }
    program(config=config)
    names = b"Connection: close\r\nUser-Agent: \xe6\x9d\xb1\xe4\xba\xac \xc2\x9b\xe9\r\nReferer: http://x/\xc3\xbc\xe2\x80\xae\r\n"
    for host in (b"Host: a\r\n", b"Host: a\r\nHost: b\r\n"):
        answer(port, b"GET /\xc3\xbc?q=\xc3\x9c\xff HTTP/1.1\r\n" + host + names + b"\r\n")
    for line in lines(tmp_path / "log", 2):
        assert line.isprintable()
        if form == "json":
            entry = json.loads(line)
            assert (entry["target"], entry["user_agent"], entry["referer"]) == (
                "/ü?q=Ü\xff", "東京 \x9b\xe9", "http://x/ü\u202e"
            )  # fmt: skip
        else:
            assert r"/ü?q=Ü\xff " in line
        if form == "combined":
            assert line.endswith(r'"http://x/ü\u202e" "東京 \x9b\xe9"')


def test_of_http2(
    program: Callable[..., Program], free_port: Callable[[], int], certificates: Callable[..., Any], tmp_path: Path
) -> None:
    port, certificate = free_port(), certificates()
    config = {
        "listen": [f"https://127.0.0.1:{port}"],
        "tls": certificate.config,
        "dispatch": [{"handler": "respond", "body": "x"}],
        "logging": {"access_log": str(tmp_path / "log"), "format": "combined"},
    }
    program(config=config)
    context = ssl.create_default_context(cafile=certificate.ca)
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as client:
            connection = h2.connection.H2Connection()
            connection.initiate_connection()
            fields = [(":method", "GET"), (":scheme", "https"), (":authority", "a")]
            connection.send_headers(1, [*fields, (":path", "/" + "a" * 9000)], end_stream=True)
            connection.send_headers(3, [*fields, (":path", "/b"), ("user-agent", "h2")], end_stream=True)
            client.sendall(connection.data_to_send())
            first, second = lines(tmp_path / "log", 2)
    assert '"GET /aaa' in first and ' HTTP/2.0" 414 ' in first
    assert '"GET /b HTTP/2.0" 200 ' in second and '"h2"' in second
