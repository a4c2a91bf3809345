"""Buffered bodies while the program reloads, while it stops, and when the disk is full."""

from __future__ import annotations

import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.stage.asking import get, refuses
from tests.stage.program import Program

Start = Callable[..., Program]
WORKERS = pytest.mark.parametrize("workers", [0, 2])
LARGE = bytes(range(256)) * 100_000  # 25 MB, more than all the sockets' buffers hold


class Application:
    """An HTTP server with one thread for all: it echoes bodies, and answers a GET with `LARGE` of bytes."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.is_sent = threading.Event()
        self.requests: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self.listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with closing(connection), connection.makefile("rwb") as file:
            while line := file.readline():
                self.requests.append(line)
                size = 0
                while (field := file.readline()) != b"\r\n":
                    if field.lower().startswith(b"content-length:"):
                        size = int(field.partition(b":")[2])
                body = LARGE if line.startswith(b"GET") else file.read(size)
                file.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
                file.write(body)
                file.flush()
                if line.startswith(b"GET"):
                    self.is_sent.set()


@pytest.fixture
def app() -> Iterator[Application]:
    application = Application()
    yield application
    application.close()


def buffering(port: int, app: int, workers: int, word: str, directory: Path) -> dict[str, Any]:
    spool = {"memory": "10k", "directory": str(directory)}
    return {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": workers,
        "timeouts": {"shutdown": "20s"},
        "dispatch": [
            {"handler": "respond", "path": "/word", "body": word},
            {
                "handler": "proxy", "proxy_pass": f"http://127.0.0.1:{app}", "request_buffering": spool,
                "response_buffering": spool,
            },
        ],
    }  # fmt: skip


def answer(caller: socket.socket) -> tuple[bytes, bytes]:
    """Read one response: its status line and its body."""
    with caller.makefile("rb") as file:
        status, size = file.readline(), 0
        while (field := file.readline()) != b"\r\n":
            if field.lower().startswith(b"content-length:"):
                size = int(field.partition(b":")[2])
        return status, file.read(size)


@WORKERS
def test_an_upload_lives_through_a_reload_and_is_sent_before_the_end(
    program: Start, app: Application, free_port: Callable[[], int], tmp_path: Path, workers: int
) -> None:
    port, elsewhere = free_port(), free_port()
    one = program(config=buffering(port, app.port, workers, "old", tmp_path))
    body = LARGE[:1_000_000]
    head = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    callers = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(2)]
    for caller in callers:
        caller.sendall(head + body[:-1])
    one.configure(buffering(port, elsewhere, workers, "new", tmp_path))
    one.send_signal(signal.SIGHUP)
    one.wait_until(lambda: all(get(port, "/word") == (200, b"new") for _ in range(4)), "the new config")
    callers[0].sendall(body[-1:])
    assert answer(callers[0]) == (b"HTTP/1.1 200 OK\r\n", body)
    callers[0].close()
    assert app.requests == [b"POST /upload HTTP/1.1\r\n"]
    one.send_signal(signal.SIGTERM)
    one.wait_until(lambda: refuses(port), "refusal of new connections")
    callers[1].sendall(body[-1:])
    assert answer(callers[1]) == (b"HTTP/1.1 200 OK\r\n", body)
    callers[1].close()
    assert one.wait_exit() == 0, one.errors
    assert list(tmp_path.glob("tmp*")) == []


@WORKERS
def test_a_buffered_response_reaches_a_slow_reader_after_the_signal(
    program: Start, app: Application, free_port: Callable[[], int], tmp_path: Path, workers: int
) -> None:
    port = free_port()
    one = program(config=buffering(port, app.port, workers, "old", tmp_path))
    with socket.create_connection(("127.0.0.1", port), 30) as caller:
        caller.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert app.is_sent.wait(30)
        one.send_signal(signal.SIGTERM)
        one.wait_until(lambda: refuses(port), "refusal of new connections")
        status, body = answer(caller)
        assert (status, body == LARGE) == (b"HTTP/1.1 200 OK\r\n", True)
    assert one.wait_exit() == 0, one.errors


@WORKERS
def test_a_full_disk_is_507_for_requests_and_slower_for_responses(
    program: Start, app: Application, free_port: Callable[[], int], tmp_path: Path, workers: int
) -> None:
    port = free_port()
    one = program(config=buffering(port, app.port, workers, "old", tmp_path))
    started = workers + 1 if workers else 0
    one.wait_until(lambda: len(one.children()) == started, "all processes")
    for process in (one.process.pid, *one.children()):
        resource.prlimit(process, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    body = LARGE[:1_000_000]
    with socket.create_connection(("127.0.0.1", port), 30) as caller:
        caller.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert answer(caller)[0] == b"HTTP/1.1 507 Insufficient Storage\r\n"
    one.wait_for(r"507 for POST / .* cannot be kept: file too large \(dispatch\[1\]\.request_buffering\)")
    assert app.requests == []
    with socket.create_connection(("127.0.0.1", port), 30) as caller:
        caller.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        one.wait_for(r"kept in memory alone.*file too large \(dispatch\[1\]\.response_buffering\)")
        assert answer(caller)[1] == LARGE
    with socket.create_connection(("127.0.0.1", port), 30) as caller:
        caller.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nsmall")
        assert answer(caller) == (b"HTTP/1.1 200 OK\r\n", b"small")
