"""Requests in progress, limited over two workers: exactly so many pass, and each end gives its place back.

Covers `web.middleware.max_requests.limit`. Each request is held by an upstream until the test lets it go.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.stage.asking import get, worker_pids
from tests.stage.backends import Backends
from tests.stage.program import Program
from tests.stage.programs import needs

Start = Callable[..., Program]
DEADLINE_S = 30.0


class Holding:
    """An upstream that answers a request once it reads a line after it, which nobody sends; it counts connections."""

    def __init__(self, backends: Backends) -> None:
        self.writers: list[asyncio.StreamWriter] = []
        self._backends = backends
        self.port = backends.tcp(self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.writers.append(writer)
        await reader.read()

    def answer(self, data: bytes = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok") -> None:
        """Answer the oldest request, or break it off."""

        async def write() -> None:
            writer = self.writers.pop(0)
            if data:
                writer.write(data)
                await writer.drain()
            if b"Upgrade" not in data:
                writer.close()

        self._backends.call(write())


class Clients:
    """Connections that ask, from addresses of their own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stack = ExitStack()

    def ask(self, path: str, source: str = "127.0.0.1", fields: str = "") -> socket.socket:
        """Send a request; its answer may not come."""
        client = self._stack.enter_context(
            socket.create_connection(("127.0.0.1", self._port), DEADLINE_S, source_address=(source, 0))
        )
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode())
        return client

    def close(self) -> None:
        self._stack.close()


def reset(client: socket.socket) -> None:
    """Go without waiting for the answer; a mere FIN only says that there is nothing more to send."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def status(client: socket.socket) -> int:
    return int(client.recv(65536).split()[1])


@pytest.fixture
def holding(backends: Backends) -> Holding:
    return Holding(backends)


@pytest.fixture
def served(program: Start, free_port: Callable[[], int], holding: Holding) -> tuple[Program, int]:
    port = free_port()
    rule = {"handler": "proxy", "proxy_pass": f"http://127.0.0.1:{holding.port}"}
    dispatch: list[dict[str, Any]] = [
        {**rule, "path": "/all/**", "max_requests": 5},
        {**rule, "path": "/each/**", "max_requests": {"all": 100, "per_client": 2}},
        {"handler": "status", "path": "/status"},
    ]
    return program(config={"listen": [f"http://127.0.0.1:{port}"], "workers": 2, "dispatch": dispatch}), port


@pytest.fixture
def clients(served: tuple[Program, int]) -> Iterator[Clients]:
    made = Clients(served[1])
    yield made
    made.close()


def in_progress(port: int) -> dict[str, int]:
    text = get(port, "/status?format=prometheus")[1].decode()
    found = re.findall(r'npserver_max_requests_in_progress\{rule="(.+?)"\} (\d+)', text)
    return {rule: int(count) for rule, count in found}


def test_exactly_so_many_are_in_progress_and_each_end_gives_its_place_back(
    served: tuple[Program, int], holding: Holding, clients: Clients
) -> None:
    one, port = served

    def wait_for(count: int) -> None:
        one.wait_until(lambda: len(holding.writers) == count, f"{count} requests at the upstream")
        one.wait_until(lambda: in_progress(port)["/all/**"] == count, f"{count} requests in progress")

    asked = [clients.ask("/all/x") for _ in range(5)]
    wait_for(5)
    for _ in range(6):
        refused = clients.ask("/all/y")
        assert status(refused) == 503
    line = "503 for GET /all/y from 127.0.0.1: too many requests at once (dispatch[0].max_requests)"
    assert one.errors.count(line) in (1, 2)  # each worker writes one

    holding.answer()  # an answer
    wait_for(4)
    holding.answer(b"")  # an upstream that breaks off
    wait_for(3)
    for client in asked:
        reset(client)  # clients that go
    one.wait_until(lambda: in_progress(port)["/all/**"] == 0, "no request in progress")
    holding.writers.clear()

    asked = [clients.ask("/all/x") for _ in range(5)]
    wait_for(5)
    one.send_signal(signal.SIGHUP)  # a reload: requests in progress count for the new config
    one.wait_for("config reloaded")
    assert status(clients.ask("/all/y")) == 503
    for pid in worker_pids(one):
        os.kill(pid, signal.SIGKILL)  # killed workers
    one.wait_until(lambda: _progress(port) == {"/all/**": 0, "/each/**": 0}, "new workers")
    holding.writers.clear()
    asked = [clients.ask("/all/x") for _ in range(5)]
    wait_for(5)
    assert status(clients.ask("/all/y")) == 503


def _progress(port: int) -> dict[str, int]:
    try:
        return in_progress(port)
    except (OSError, KeyError):
        return {}


def test_each_client_has_its_own_limit(served: tuple[Program, int], holding: Holding, clients: Clients) -> None:
    one, port = served
    asked = [clients.ask("/each/x", source) for source in ("127.0.0.1", "127.0.0.2", "127.0.0.3") for _ in range(2)]
    one.wait_until(lambda: len(holding.writers) == 6, "requests at the upstream")
    refused = clients.ask("/each/x", "127.0.0.2")
    answer = refused.recv(65536)
    assert answer.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nRetry-After: 1\r\n" in answer
    one.wait_for(r"too many requests of the client at once \(dispatch\[1\]\.max_requests\)")
    reset(asked[2])
    one.wait_until(lambda: in_progress(port)["/each/**"] == 5, "a place")
    clients.ask("/each/x", "127.0.0.2")
    one.wait_until(lambda: len(holding.writers) == 7, "another request at the upstream")
    assert status(clients.ask("/each/x", "127.0.0.1")) == 429


def test_a_websocket_counts_until_it_is_closed(served: tuple[Program, int], holding: Holding, clients: Clients) -> None:
    one, port = served
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
    tunnels = [clients.ask("/each/ws", fields=upgrade) for _ in range(2)]
    one.wait_until(lambda: len(holding.writers) == 2, "requests at the upstream")
    for _ in tunnels:
        holding.answer(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert [status(client) for client in tunnels] == [101, 101]
    assert status(clients.ask("/each/x")) == 429
    tunnels[0].close()
    one.wait_until(lambda: in_progress(port)["/each/**"] == 1, "a place")


@needs("h2load")
def test_streams_of_http2_and_plain_files_count_as_others(
    program: Start, free_port: Callable[[], int], certificates: Callable[..., Any], public: Any
) -> None:
    port, secure = free_port(), free_port()
    rules = [
        {"handler": "static", "root": str(public), "path": "/files/**", "max_requests": {"all": 50, "per_client": 40}},
        {"handler": "status", "path": "/status"},
    ]
    listen = [f"http://127.0.0.1:{port}", f"https://127.0.0.1:{secure}"]
    one = program(config={"listen": listen, "workers": 2, "dispatch": rules, "tls": certificates().config})
    for url in (f"http://127.0.0.1:{port}", f"https://127.0.0.1:{secure}"):
        command = ["h2load", "-n", "500", "-c", "4", *(["--h1"] if url.startswith("http:") else ["-m", "5"])]
        done = subprocess.run([*command, f"{url}/files/none"], capture_output=True, text=True, timeout=40, check=True)
        assert "500 4xx, 0 5xx" in done.stdout
        assert "429" not in one.errors
    one.wait_until(lambda: in_progress(port) == {"/files/**": 0}, "no request in progress")
