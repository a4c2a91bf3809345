"""A flood of requests, each of a client with an address of its own: the memory of all processes stays flat.

`NPSERVER_KEYS=10000000` makes the long form of it. `tests/protocols/test_distinct_keys.py` counts what is kept.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stage.asking import get, worker_pids
from tests.stage.program import Program

REQUESTS = int(os.environ.get("NPSERVER_KEYS", "24000"))
AT_ONCE = 100  # requests of a connection
GROWTH_KIB = 1536  # 128 bytes for each client of the second half of the short form


def resident_kib(pids: list[int]) -> int:
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(re.findall(r"^VmRSS:\s+(\d+) kB", text, re.MULTILINE)[0]) for text in texts)


def send(port: int, first: int) -> None:
    """Send requests of so many clients over one connection, and check their answers."""
    fields = "Host: a\r\nX-Forwarded-For: 2001:db8:{:x}:{:x}::1\r\n"
    requests = [
        f"GET /x HTTP/1.1\r\n{fields.format(number >> 16, number & 0xFFFF)}\r\n"
        for number in range(first, first + AT_ONCE)
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall("".join(requests).encode())
        client.shutdown(socket.SHUT_WR)
        data = b""
        while piece := client.recv(1 << 16):
            data += piece
    assert data.count(b"HTTP/1.1 404 ") == AT_ONCE


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks at /proc")
@pytest.mark.timeout(60 + REQUESTS // 1000)
def test_memory_is_flat_however_many_clients_there_are(
    program: Callable[..., Program], free_port: Callable[[], int], tmp_path: Path
) -> None:
    port = free_port()
    one = program(
        config={
            "listen": [f"http://127.0.0.1:{port}"],
            "workers": 1,
            "store": str(tmp_path / "store"),
            "trusted_proxies": "127.0.0.1",
            "limits": {"rate_limit_keys": 4096},
            "logging": {"access_log": "off"},
            "networks": {"banned": {"learn": {"scan": 2, "limited": 2}}},
            "dispatch": [
                {"handler": "status", "path": "/status"},
                {"handler": "respond", "path": "/x", "status": 404, "rate_limit": "2/h", "deny": "banned"},
            ],
        }
    )
    one.wait_for("npserver 1")
    pids, half_kib = [one.process.pid, *worker_pids(one)], 0
    for first in range(0, REQUESTS, AT_ONCE):
        send(port, first)
        if first == REQUESTS // 2:
            half_kib = resident_kib(pids)
    assert resident_kib(pids) < half_kib + GROWTH_KIB
    one.wait_until(lambda: evicted(port) > REQUESTS // 2, "the keys that made room")


def evicted(port: int) -> int:
    text = get(port, "/status?format=prometheus")[1].decode()
    found = re.search(r"^npserver_rate_limit_evicted_total (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0
