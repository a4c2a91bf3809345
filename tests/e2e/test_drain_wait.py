"""`npserver drain -wait` of a target ends what is in progress there, of every kind.

Covers `process.control.draining`.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

from tests.stage.asking import Asking, SlowUpstream
from tests.stage.backends import Backends
from tests.stage.clock import Clock
from tests.stage.draining import Start, kept_client, last, serving, start

WITH_WORKERS = pytest.mark.parametrize(("loop", "workers"), [("asyncio", 2), ("uvloop", 0), ("uvloop", 2)])
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"


class Silent:
    """A target that sends `answer` to the first bytes of each client, and nothing more."""

    def __init__(self, backends: Backends, answer: bytes = b"") -> None:
        self.asked = 0
        self._answer = answer
        self.port = backends.tcp(self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(self._answer)
        await writer.drain()
        self.asked += 1
        await reader.read(-1)


class SilentHttp2(Silent):
    """One that speaks HTTP/2."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        while True:
            writer.write(connection.data_to_send())
            data = await reader.read(65_536)
            if not data:
                return
            events = connection.receive_data(data)
            self.asked += sum(isinstance(event, h2.events.RequestReceived) for event in events)


def proxied(target: int, **more: Any) -> dict[str, Any]:
    return {"handler": "proxy", "path": "/app", "proxy_pass": f"http://127.0.0.1:{target}", "retries": 0, **more}


@WITH_WORKERS
def test_a_request_without_an_answer_fails(
    program: Start, backends: Backends, free_port: Callable[[], int], loop: str, workers: int
) -> None:
    port, other, silent = free_port(), free_port(), Silent(backends)
    one = start(program, serving(port, other, workers, proxied(silent.port)), loop)
    asking = [Asking(port, "/app") for _ in range(4)]
    one.wait_until(lambda: silent.asked == 4, "requests")
    done = one.command("drain", "-force", "-wait", "1", f"127.0.0.1:{silent.port}")
    assert done[1].splitlines()[0] == "draining: 4 requests and connections left"
    assert last(done) == (0, "empty")
    for each in asking:
        answer = each.finish()
        assert answer is not None and answer[0] == 502
    one.wait_for(rf"drain of target http://127\.0\.0\.1:{silent.port}: \d connections? ended \(-wait has passed\)")


@WITH_WORKERS
def test_another_target_answers_a_request_that_may_be_sent_again(
    program: Start, backends: Backends, free_port: Callable[[], int], loop: str, workers: int
) -> None:
    port, other, silent, good = free_port(), free_port(), Silent(backends), backends.http("good")
    targets: list[Any] = [f"http://127.0.0.1:{silent.port}", {"uri": f"http://127.0.0.1:{good}", "backup": True}]
    rule = {"handler": "proxy", "path": "/app", "proxy_pass": "upstream://app"}
    one = start(program, serving(port, other, workers, rule, upstreams={"app": {"targets": targets}}), loop)
    asking = Asking(port, "/app")
    one.wait_until(lambda: silent.asked, "the request")
    assert last(one.command("drain", "-wait", "1", f"127.0.0.1:{silent.port}")) == (0, "empty")
    answer = asking.finish()
    assert answer is not None and answer[0] == 200 and b"good" in answer[1]


@WITH_WORKERS
def test_an_answer_that_has_begun_is_cut(
    program: Start, backends: Backends, free_port: Callable[[], int], loop: str, workers: int
) -> None:
    port, other, silent = free_port(), free_port(), Silent(backends, HALF)
    one = start(program, serving(port, other, workers, proxied(silent.port)), loop)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as client:
        client.request("GET", "/app")
        answer = client.getresponse()
        assert (answer.status, answer.read(5)) == (200, b"hello")
        assert last(one.command("drain", "-force", "-wait", "1", f"127.0.0.1:{silent.port}")) == (0, "empty")
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            answer.read()


@WITH_WORKERS
def test_an_upload_is_broken_off(
    program: Start, backends: Backends, free_port: Callable[[], int], loop: str, workers: int
) -> None:
    port, other, silent = free_port(), free_port(), Silent(backends)
    one = start(program, serving(port, other, workers, proxied(silent.port, request_buffering=False)), loop)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as client:
        client.putrequest("POST", "/app")
        client.putheader("Content-Length", "10")
        client.endheaders(b"hello")
        one.wait_until(lambda: silent.asked, "the request")
        assert last(one.command("drain", "-force", "-wait", "1", f"127.0.0.1:{silent.port}")) == (0, "empty")
        assert client.getresponse().status == 502


@WITH_WORKERS
def test_a_request_over_http2(
    program: Start, backends: Backends, free_port: Callable[[], int], loop: str, workers: int
) -> None:
    port, other, silent = free_port(), free_port(), SilentHttp2(backends)
    upstreams = {"app": {"targets": [f"h2c://127.0.0.1:{silent.port}"]}}
    rule = {"handler": "proxy", "path": "/app", "proxy_pass": "upstream://app", "retries": 0}
    one = start(program, serving(port, other, workers, rule, upstreams=upstreams), loop)
    asking = Asking(port, "/app")
    one.wait_until(lambda: silent.asked, "the request")
    done = one.command("drain", "-force", "-wait", "1", f"127.0.0.1:{silent.port}")
    assert done[1].splitlines()[0] == "draining: 1 request or connection left"
    assert last(done) == (0, "empty")
    answer = asking.finish()
    assert answer is not None and answer[0] == 502


@WITH_WORKERS
def test_a_request_over_fastcgi(
    program: Start, backends: Backends, free_port: Callable[[], int], tmp_path: Path, loop: str, workers: int
) -> None:
    port, other, silent = free_port(), free_port(), Silent(backends)
    (tmp_path / "index.php").touch()
    rule = {
        "root": str(tmp_path),
        "handler": "fastcgi",
        "path": "/app",
        "to": f"tcp://127.0.0.1:{silent.port}",
        "retries": 0,
    }
    one = start(program, serving(port, other, workers, rule), loop)
    asking = Asking(port, "/app")
    one.wait_until(lambda: silent.asked, "the request")
    assert last(one.command("drain", "-force", "-wait", "1", f"127.0.0.1:{silent.port}")) == (0, "empty")
    answer = asking.finish()
    assert answer is not None and answer[0] == 502


@WITH_WORKERS
def test_messages_from_tcp_to_udp(
    program: Start, backends: Backends, free_port: Callable[[], int], loop: str, workers: int
) -> None:
    port, target = free_port(), backends.udp_echo()
    listener = f"tcp://127.0.0.1:{port}"
    rule = {"handler": "forward", "forward_to": f"udp://127.0.0.1:{target}"}
    one = start(program, {"workers": workers, "listen": [listener], "dispatch": [rule]}, loop)
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        client.sendall(b"\0\5hello")
        assert client.recv(100) == b"\0\5hello"
        assert last(one.command("drain", "-force", "-wait", "0", f"127.0.0.1:{target}")) == (0, "empty")
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(100) == b""


@pytest.mark.parametrize("offset", ["+2d", "-2d"])
def test_a_jump_of_the_clock_changes_no_deadline(
    program: Start, slow: SlowUpstream, free_port: Callable[[], int], tmp_path: Path, offset: str
) -> None:
    port, other, clock = free_port(), free_port(), Clock(tmp_path)
    one = program(config=serving(port, other, 2, proxied(slow.port)), env=clock.environment)
    one.wait_for("npserver 1")
    with kept_client(port) as idle:
        asking = Asking(port, "/app")
        slow.take_request()
        with one.begin_command("drain", "-wait", "3600", "web") as draining:
            assert draining.stdout is not None
            assert draining.stdout.readline() == "draining: 2 requests and connections left\n"
            clock.set(offset)
            assert idle.sock is not None and idle.sock.recv(10) == b""  # it has had its time for a last request
            slow.answer(b"at last")
            assert asking.finish() == (200, b"at last")
            assert draining.communicate(timeout=30)[0].splitlines()[-1] == "empty"
