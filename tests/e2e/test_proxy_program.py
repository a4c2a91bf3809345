"""The proxy as several processes: tunnels over reload and shutdown, upstreams that are killed and come back."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.stage.asking import get, is_alive, is_reached, refuses, worker_pids
from tests.stage.program import Program

Start = Callable[..., Program]
WORKERS = pytest.mark.parametrize("workers", [0, 2])
HANDSHAKE = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"
BULK = 32 << 20  # more than all the buffers on the way hold


# ── tunnels ──


def tunnelled(port: int, upstream: int, workers: int, word: str, **timeouts: str) -> dict[str, Any]:
    return {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": workers,
        "timeouts": timeouts,
        "dispatch": [
            {"handler": "respond", "path": "/word", "body": word},
            {"handler": "proxy", "path": "/ws", "proxy_pass": f"http://127.0.0.1:{upstream}"},
        ],
    }


def reload(one: Program, port: int, config: dict[str, Any]) -> None:
    one.configure(config)
    one.send_signal(signal.SIGHUP)
    one.wait_until(lambda: all(get(port, "/word") == (200, b"new") for _ in range(4)), "the new config")


@WORKERS
def test_websocket_lives_through_a_reload_and_ends_well_at_shutdown(
    program: Start, backends: Any, free_port: Callable[[], int], workers: int
) -> None:
    port, upstream = free_port(), backends.websocket_echo()
    one = program(config=tunnelled(port, upstream, workers, "old", shutdown="20s"))
    with connect(f"ws://127.0.0.1:{port}/ws") as websocket:
        websocket.send("before")
        assert websocket.recv(timeout=30) == "before"
        reload(one, port, tunnelled(port, upstream, workers, "new", shutdown="20s"))
        websocket.send("after the reload")
        assert websocket.recv(timeout=30) == "after the reload"
        one.send_signal(signal.SIGTERM)
        one.wait_until(lambda: refuses(port), "refusal of new connections")
        websocket.send("while it shuts down")
        assert websocket.recv(timeout=30) == "while it shuts down"
        assert one.process.poll() is None
    assert websocket.close_code == 1000, "both sides have said that they close"
    assert one.wait_exit() == 0, one.errors
    assert "cut off" not in one.errors


@WORKERS
def test_bytes_in_flight_reach_a_slow_reader_after_the_signal(
    program: Start, free_port: Callable[[], int], workers: int
) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        upstream.settimeout(30)
        config = tunnelled(port, upstream.getsockname()[1], workers, "old", shutdown="20s")
        one = program(config=config)
        with socket.create_connection(("127.0.0.1", port), 30) as client:
            client.sendall(HANDSHAKE)
            inner, _ = upstream.accept()
            inner.settimeout(30)
            while not inner.recv(65536).endswith(b"\r\n\r\n"):
                pass
            sender = threading.Thread(target=_send_all, args=(inner, SWITCH + b"x" * BULK))
            sender.start()
            config["dispatch"][0]["body"] = "new"
            reload(one, port, config)
            one.send_signal(signal.SIGTERM)
            one.wait_until(lambda: refuses(port), "refusal of new connections")
            assert sender.is_alive(), "bytes were to be on their way"
            head, _, received = _read_all(client).partition(b"\r\n\r\n")
            sender.join(30)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert len(received) == BULK
    assert one.wait_exit() == 0, one.errors
    assert "cut off" not in one.errors


@WORKERS
def test_tunnel_that_does_not_end_is_cut_off_at_the_shutdown_deadline(
    program: Start, backends: Any, free_port: Callable[[], int], workers: int
) -> None:
    port = free_port()
    one = program(config=tunnelled(port, backends.websocket_echo(), workers, "old", shutdown="300ms"))
    with connect(f"ws://127.0.0.1:{port}/ws", close_timeout=1) as websocket:
        websocket.send("hello")
        assert websocket.recv(timeout=30) == "hello"
        before = time.monotonic()
        one.send_signal(signal.SIGTERM)
        assert one.wait_exit() == 0, one.errors
        assert time.monotonic() - before >= 0.3
    assert "1 connection aborted after 0.3 s (timeouts.shutdown)" in one.errors
    assert re.search(r" GET \S+/ws 101 ", one.output)


def _send_all(sock: socket.socket, data: bytes) -> None:
    with sock:
        sock.sendall(data)


def _read_all(sock: socket.socket) -> bytes:
    data = bytearray()
    while piece := sock.recv(1 << 20):
        data += piece
    return bytes(data)


# ── upstreams that are killed ──

# Every request seen is a line in a file before it is answered. Each is answered once a further one has come, until the
# standard input ends: one is in flight whenever this process is killed.
UPSTREAM = """
import os, socket, sys, threading
port, path = int(sys.argv[1]), sys.argv[2]
lock, waiting, is_over = threading.Lock(), [], threading.Event()
def wait_for_another():
    mine = threading.Event()
    with lock:
        while waiting:
            waiting.pop().set()
        if is_over.is_set():
            return
        waiting.append(mine)
    mine.wait()
def release():
    sys.stdin.read()
    with lock:
        is_over.set()
        while waiting:
            waiting.pop().set()
threading.Thread(target=release, daemon=True).start()
log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def serve(connection):
    data = b""
    while True:
        while b"\\r\\n\\r\\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return
            data += piece
        head, _, data = data.partition(b"\\r\\n\\r\\n")
        if head.startswith(b"POST"):
            while len(data) < 4:
                data += connection.recv(65536)
            data = data[4:]
        os.write(log, b" ".join(head.split(b" ")[:2]) + b"\\n")
        wait_for_another()
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
server = socket.create_server(("127.0.0.1", port), backlog=100)
print("listening", flush=True)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""


class Killed:
    """An upstream in a process of its own."""

    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-S", "-c", UPSTREAM, str(self.port), str(self.log)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"listening\n"

    def release(self) -> None:
        """Let it answer at once from now on."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.close()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout):
                assert stream is not None
                stream.close()

    @property
    def seen(self) -> list[str]:
        """Method and path of each request, in the order they came."""
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def upstreams(free_port: Callable[[], int], tmp_path: Path) -> Iterator[tuple[Killed, Killed]]:
    """Two upstreams that run."""
    pair = Killed(free_port(), tmp_path / "one.seen"), Killed(free_port(), tmp_path / "two.seen")
    for one in pair:
        one.start()
    yield pair
    for one in pair:
        one.kill()


class Load(threading.Thread):
    """Requests one after the other, each second one a POST, each with a path of its own, over kept connections."""

    def __init__(self, port: int, name: str) -> None:
        super().__init__(daemon=True, name=name)
        self.port = port
        self.is_over = threading.Event()
        self.answers: dict[str, int] = {}  # "GET /path" to status, 0: none
        self.start()

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        number = 0
        while not self.is_over.is_set():
            number += 1
            method, body = ("POST", b"body") if number % 2 else ("GET", None)
            path = f"/{self.name}/{number}"
            try:
                connection.request(method, path, body)
                response = connection.getresponse()
                response.read()
                self.answers[f"{method} {path}"] = response.status
            except (OSError, http.client.HTTPException):
                self.answers[f"{method} {path}"] = 0
                connection.close()
        connection.close()


@pytest.mark.parametrize("keepalive", [True, False], ids=["pooled", "fresh"])
def test_killed_upstreams_lose_and_repeat_nothing_wrongly(
    program: Start, upstreams: tuple[Killed, Killed], free_port: Callable[[], int], keepalive: bool
) -> None:
    """RFC 9110 §9.2.2: GETs are repeated until they are answered, POSTs never, counted over two workers."""
    port, (killed, stable) = free_port(), upstreams
    targets = [f"http://127.0.0.1:{one.port}" for one in upstreams]
    one = program(
        config={
            "workers": 2,
            "listen": [f"http://127.0.0.1:{port}"],
            "upstreams": {"app": {"targets": targets, "retry_timeout_seconds": 0, "keepalive": keepalive}},
            "dispatch": [{"handler": "proxy", "proxy_pass": "upstream://app"}],
        }
    )
    load = [Load(port, str(number)) for number in range(8)]
    for _ in range(12):
        before = len(killed.seen)
        one.wait_until(lambda before=before: len(killed.seen) >= before + 10, "requests at the upstream to kill")
        killed.kill()
        asked = sum(len(each.answers) for each in load)
        one.wait_until(lambda asked=asked: sum(len(e.answers) for e in load) >= asked + 10, "answers without it")
        killed.start()
    for each in load:
        each.is_over.set()
    for upstream in upstreams:
        upstream.release()
    for each in load:
        each.join(20)
        assert not each.is_alive()

    answers = {asked: status for each in load for asked, status in each.answers.items()}
    seen = Counter(killed.seen + stable.seen)
    gets = {asked: status for asked, status in answers.items() if asked.startswith("GET")}
    posts = {asked: status for asked, status in answers.items() if asked.startswith("POST")}
    assert set(gets.values()) == {200}, "a request that could be repeated was lost"
    assert {seen[asked] for asked in posts} <= {0, 1}, "a POST was sent twice"
    assert all(seen[asked] == 1 for asked, status in posts.items() if status == 200)
    assert set(posts.values()) <= {200, 502}
    assert max(seen[asked] for asked in gets) <= 3, "more than `retries` allows"
    assert any(seen[asked] > 1 for asked in gets), "no GET was under way when its upstream was killed"
    assert any(status == 502 for status in posts.values()), "no POST was under way when its upstream was killed"


def test_load_of_targets_is_right_after_a_worker_was_killed(
    program: Start, upstreams: tuple[Killed, Killed], free_port: Callable[[], int]
) -> None:
    """`max_connections` counts over all workers; what a worker held that died is given back."""
    port = free_port()
    upstreams[0].release()
    target = {"uri": f"http://127.0.0.1:{upstreams[0].port}", "max_connections": 1}
    one = program(
        config={
            "workers": 2,
            "listen": [f"http://127.0.0.1:{port}"],
            "upstreams": {"app": {"targets": [target]}},
            "dispatch": [{"handler": "proxy", "proxy_pass": "upstream://app"}],
        }
    )
    os.kill(upstreams[0].process.pid, signal.SIGSTOP)  # type: ignore[union-attr]
    with socket.create_connection(("127.0.0.1", port), 30) as held:
        held.sendall(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        one.wait_until(lambda: is_reached(upstreams[0].port), "the connection that fills the target")
        assert get(port, "/full")[0] == 503
        victims = worker_pids(one)
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        one.wait_until(lambda: not any(map(is_alive, victims)), "their end")
        os.kill(upstreams[0].process.pid, signal.SIGCONT)  # type: ignore[union-attr]
        assert get(port, "/free") == (200, b"ok")
