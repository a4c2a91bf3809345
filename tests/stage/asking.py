"""Requests to a running program, and its processes."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.stage.program import Program


def get(port: int, path: str = "/", host: str = "127.0.0.1") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


class SlowUpstream:
    """An HTTP server that answers each request when told to."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(30)
        self.port = self.listener.getsockname()[1]
        self.connection: socket.socket | None = None

    def take_request(self) -> None:
        self.connection, _ = self.listener.accept()
        self.connection.settimeout(30)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.connection.recv(4096)

    def answer(self, body: bytes) -> None:
        assert self.connection is not None
        self.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    def close(self) -> None:
        self.listener.close()
        if self.connection is not None:
            self.connection.close()


class Asking(threading.Thread):
    """A request in the background."""

    def __init__(self, port: int, path: str = "/") -> None:
        super().__init__(daemon=True)
        self.port, self.path = port, path
        self.answer: tuple[int, bytes] | None = None
        self.start()

    def run(self) -> None:
        try:
            self.answer = get(self.port, self.path)
        except (OSError, http.client.HTTPException):
            self.answer = None

    def finish(self) -> tuple[int, bytes] | None:
        self.join(30)
        assert not self.is_alive()
        return self.answer


class Background:
    """Functions that run, each in a thread, until the block ends: they look at `is_over`."""

    def __init__(self, *runs: Callable[[], None]) -> None:
        self.is_over = threading.Event()
        self._threads = [threading.Thread(target=one) for one in runs]

    def __enter__(self) -> Self:
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        for one in self._threads:
            one.join(30)


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 30).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it was closed during the handshake
        return False
    return False


def is_reached(port: int) -> bool:
    """Return whether a connection to this port of 127.0.0.1 exists, accepted or not."""
    wanted = [f"0100007F:{port:04X}", "01"]  # the peer's address, ESTABLISHED
    return any(row.split()[2:4] == wanted for row in Path("/proc/net/tcp").read_text().splitlines())


def worker_pids(program: Program) -> list[int]:
    """Return the workers' process ids; the controller is the child that was forked last."""
    return sorted(program.children())[:-1]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
