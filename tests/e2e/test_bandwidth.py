"""Answers at a bandwidth: whole and unchanged, whatever makes them and whichever version of HTTP carries them.

Covers `web.server.bytes_source`. The pace itself is shown by a clock of its own in
`tests/unit/web/middleware/bandwidth/test_pace.py`; here, that the program waits, and that nothing is kept meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stage.asking import get
from tests.stage.backends import Backends
from tests.stage.program import Program
from tests.stage.programs import needs

Start = Callable[..., Program]
CONTENT = os.urandom(400_000)
PACE = {"bandwidth": "2m"}
ALL = 64 << 20  # bytes that an upstream offers


async def _offer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: list[int]) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % ALL)
    for _ in range(ALL >> 16):
        writer.write(bytes(1 << 16))
        await writer.drain()
        sent[0] += 1 << 16


async def _pieces(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for start in range(0, len(CONTENT), 50_000):
        piece = CONTENT[start : start + 50_000]
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def waits(port: int) -> dict[str, int]:
    text = get(port, "/status?format=prometheus")[1].decode()
    return {
        rule: int(count) for rule, count in re.findall(r'npserver_bandwidth_waits_total\{rule="(.+?)"\} (\d+)', text)
    }


@needs("curl")
def test_answers_come_whole_over_each_version(
    program: Start, free_port: Callable[[], int], tmp_path: Path, backends: Backends, certificates: Callable[..., Any]
) -> None:
    (tmp_path / "large.bin").write_bytes(CONTENT)
    port, secure = free_port(), free_port()
    chunked = f"http://127.0.0.1:{backends.tcp(_pieces)}"
    rules: list[dict[str, Any]] = [
        {"handler": "static", "path": "/file/**", "root": str(tmp_path), **PACE},
        {"handler": "respond", "path": "/whole/**", "body": CONTENT.hex()},
        {"handler": "proxy", "path": "/app/**", "proxy_pass": chunked, **PACE},
        {"handler": "proxy", "path": "/kept/**", "proxy_pass": chunked, "response_buffering": True, **PACE},
        {"handler": "proxy", "path": "/zipped/**", "proxy_pass": chunked, "gzip": True, **PACE},
        {"handler": "status", "path": "/status"},
    ]
    rules[1].update(PACE)
    one = program(
        config={
            "listen": [f"http://127.0.0.1:{port}", f"https://127.0.0.1:{secure}"],
            "workers": 2,
            "tls": certificates().config,
            "dispatch": rules,
        }
    )
    for url, version in ((f"http://127.0.0.1:{port}", "--http1.1"), (f"https://127.0.0.1:{secure}", "--http2")):
        paths = ["file/large.bin", "whole/x", "app/x", "kept/x", "zipped/x"]
        command = ["curl", "-skZ", "--compressed", version]
        for number, path in enumerate(paths):
            command += [f"{url}/{path}", "-o", str(tmp_path / f"{number}")]
        subprocess.run(command, timeout=40, check=True)
        expected = [CONTENT, CONTENT.hex().encode(), *[CONTENT] * 3]
        assert [(tmp_path / f"{number}").read_bytes() == want for number, want in enumerate(expected)] == [True] * 5
        head = subprocess.run(
            ["curl", "-skI", version, f"{url}/file/large.bin"], capture_output=True, timeout=20, check=True
        ).stdout
        assert b"ontent-" in head and b"400000" in head
        ranged = subprocess.run(
            ["curl", "-sk", version, "-r", "1000-200999", f"{url}/file/large.bin"],
            capture_output=True, timeout=20, check=True,
        ).stdout  # fmt: skip
        assert ranged == CONTENT[1000:201_000]
    counted = waits(port)
    assert {rule for rule, count in counted.items() if count >= 4} == {
        "/file/**", "/whole/**", "/app/**", "/kept/**", "/zipped/**",
    }  # fmt: skip
    assert "error" not in one.errors


@pytest.mark.parametrize("limit", ["per_answer", "per_client"])
def test_nothing_is_kept_for_a_client_that_is_ahead(
    program: Start, free_port: Callable[[], int], backends: Backends, limit: str
) -> None:
    port, sent = free_port(), [0]
    upstream = backends.tcp(lambda reader, writer: _offer(reader, writer, sent))
    rules = [
        {
            "handler": "proxy",
            "path": "/app",
            "proxy_pass": f"http://127.0.0.1:{upstream}",
            "bandwidth": {limit: "200k"},
        },
        {"handler": "status", "path": "/status"},
    ]
    one = program(config={"listen": [f"http://127.0.0.1:{port}"], "workers": 1, "dispatch": rules})
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        client.sendall(b"GET /app HTTP/1.1\r\nHost: a\r\n\r\n")
        received = 0
        while received < 200_000:
            received += len(client.recv(65536))
        assert sent[0] < ALL // 2  # the rest is not read from the upstream
        assert waits(port)["/app"] >= 1
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.wait_for(r"a/app 200 ")  # its line in the access log
