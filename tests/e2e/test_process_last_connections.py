"""The end of a listener loses nobody: whoever has connected is answered, whoever has not is refused.

Covers `listen.last_connections` and `listen.packet_filter`.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from npserver.listen.last_connections import has_queued, take_no_more
from tests.stage.program import ROOT, Program

Start = Callable[..., Program]
CLIENTS = 24
BODY = b"hello" * 100
ON_LINUX = pytest.mark.skipif("sys.platform != 'linux'", reason="the kernel must be able to drop SYNs")


class Crowd:
    """Clients that connect and send one request, again and again, until they are refused."""

    def __init__(self, place: str | tuple[str, int], tls: ssl.SSLContext | None = None) -> None:
        self._place = place
        self._tls = tls
        self.outcomes: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def finish(self) -> Counter[str]:
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()
        return self.outcomes

    def _run(self) -> None:
        while (outcome := self._ask()) == "answered":
            self.outcomes[outcome] += 1
        self.outcomes[outcome] += 1

    def _ask(self) -> str:
        family = socket.AF_UNIX if isinstance(self._place, str) else socket.AF_INET
        with socket.socket(family) as client:
            client.settimeout(20)
            try:
                client.connect(self._place)
            except (ConnectionRefusedError, FileNotFoundError):
                return "refused"
            try:
                if self._tls is not None:
                    with self._tls.wrap_socket(client, server_hostname="localhost") as secure:
                        return self._exchange(secure)
                return self._exchange(client)
            except OSError as error:
                return repr(error)

    def _exchange(self, client: socket.socket) -> str:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65_536), b""))
        return "answered" if answer.endswith(BODY) else f"cut short: {answer!r}"


@ON_LINUX
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["http", "https", "unix", "tcp"])
@pytest.mark.parametrize("ends_by", ["SIGTERM", "reload"])
def test_every_client_that_has_connected_is_answered(
    program: Start,
    free_port: Callable[[], int],
    certificates: Callable[..., Any],
    socket_dir: Path,
    kind: str,
    ends_by: str,
    workers: int,
) -> None:
    port, web, path = free_port(), free_port(), str(socket_dir / "a.sock")
    certificate = certificates()
    uri = f"unix://{path}" if kind == "unix" else f"{kind}://127.0.0.1:{port}"
    rules: list[dict[str, Any]] = [{"handler": "respond", "body": BODY.decode()}]
    if kind == "tcp":
        rules.append({"listener": uri, "handler": "forward", "forward_to": f"tcp://127.0.0.1:{web}"})
    config = {
        "listen": [uri, f"http://127.0.0.1:{web}"],
        "workers": workers,
        "tls": certificate.config,
        "logging": {"access_log": "off"},
        "dispatch": rules,
    }
    one = program(config=config)
    one.wait_for("npserver 1")
    crowd = Crowd(path if kind == "unix" else ("127.0.0.1", port), certificate.client() if kind == "https" else None)
    one.wait_until(lambda: crowd.outcomes["answered"] > 3 * CLIENTS, "busy clients")
    if ends_by == "SIGTERM" and kind != "tcp":  # a forward's target is this program here: it would end first
        one.send_signal(signal.SIGTERM)
        assert one.wait_exit() == 0
    else:
        one.configure({**config, "listen": [f"http://127.0.0.1:{web}"], "dispatch": rules[:1]})
        one.send_signal(signal.SIGHUP)
        one.wait_for("config reloaded")
    outcomes = crowd.finish()
    assert set(outcomes) == {"answered", "refused"}
    assert outcomes["refused"] == CLIENTS


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\n"])
def test_a_client_that_has_connected_has_time_for_its_first_request(
    program: Start, free_port: Callable[[], int], workers: int, first: bytes
) -> None:
    port = free_port()
    config = {"listen": [f"http://127.0.0.1:{port}"], "workers": workers, "dispatch": [{"handler": "respond"}]}
    one = program(config=config)
    one.wait_for("npserver 1")
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    with (
        socket.create_connection(("127.0.0.1", port), 30) as client,
        socket.create_connection(("127.0.0.1", port), 30) as busy,
    ):
        client.sendall(first)
        one.send_signal(signal.SIGTERM)
        answer = b""
        while b"Connection: close\r\n" not in answer:  # until the worker has been told
            busy.sendall(request)
            answer = busy.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        client.sendall(request[len(first) :])
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Connection: close\r\n" in answer
    assert one.wait_exit() == 0


def test_a_handshake_under_way_is_completed_and_its_request_answered(
    program: Start, free_port: Callable[[], int], certificates: Callable[..., Any]
) -> None:
    port, certificate = free_port(), certificates()
    config = {
        "listen": [f"https://127.0.0.1:{port}"],
        "workers": 1,
        "tls": certificate.config,
        "dispatch": [{"handler": "respond"}],
    }
    one = program(config=config)
    one.wait_for("npserver 1")
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        one.send_signal(signal.SIGTERM)
        one.wait_for("shutting down")
        with certificate.client().wrap_socket(client, server_hostname="localhost") as secure:
            secure.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert secure.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
    assert one.wait_exit() == 0


@ON_LINUX
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_no_connection_begins_and_those_that_have_begun_go_on(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening, socket.socket(family) as late:
        place = listening.getsockname()
        with socket.create_connection(place[:2]) as early:
            take_no_more(listening)
            late.setblocking(False)
            late.connect_ex(place)
            assert has_queued([listening])
            accepted, _ = listening.accept()
            with accepted:
                early.sendall(b"hello")
                accepted.settimeout(30)
                assert accepted.recv(10) == b"hello"
            assert not has_queued([listening])
            listening.close()
        poll = select.poll()
        poll.register(late, select.POLLOUT)
        assert poll.poll(10_000), "it sends its SYN again after a second"
        assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


@ON_LINUX
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["http", "unix"])
def test_a_removed_listener_takes_nobody_once_the_reload_is_told(
    program: Start, free_port: Callable[[], int], socket_dir: Path, kind: str, workers: int
) -> None:
    port, web = free_port(), free_port()
    place: Any = str(socket_dir / "a.sock") if kind == "unix" else ("127.0.0.1", port)
    uri = f"unix://{place}" if kind == "unix" else f"http://127.0.0.1:{port}"
    config = {"listen": [uri, f"http://127.0.0.1:{web}"], "workers": workers, "dispatch": [{"handler": "respond"}]}
    one = program(config=config)
    one.wait_for("npserver 1")
    one.configure({**config, "listen": config["listen"][1:]})
    done = subprocess.run(
        [sys.executable, "-m", "npserver", "reload", "-config", str(one.config_file)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    with socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET) as client:
        client.settimeout(30)
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            client.connect(place)
    assert done.stdout == "reloaded\n"
