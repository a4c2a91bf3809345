"""Requests that wait while all targets of an upstream are full or down (`wait`, `queue`), in the real program.

Covers `forward.waiting_connection` and `web.handlers.proxy.waiting_call`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
import struct
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.stage.asking import Asking, SlowUpstream, get
from tests.stage.backends import Backends
from tests.stage.program import Program
from tests.stage.programs import needs

Start = Callable[..., Program]
BODY = b"x" * (3 << 20)  # more than is read of a request ahead


class Counting:
    """A target that counts the requests it has at once. One that is `held` answers each when told to."""

    def __init__(self, backends: Backends, *, held: bool = False, port: int = 0) -> None:
        self.now = self.most = 0
        self.seen: list[str] = []  # the paths, in order
        self.bodies: list[int] = []
        self._backends = backends
        self._gate = backends.call(self._semaphore(0 if held else 1_000_000))
        self.port = backends.tcp(self._serve, port)

    @staticmethod
    async def _semaphore(count: int) -> asyncio.Semaphore:
        return asyncio.Semaphore(count)

    def release(self, count: int = 1) -> None:
        """Answer so many requests more."""

        async def let() -> None:
            for _ in range(count):
                self._gate.release()

        self._backends.call(let())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            self.now += 1
            self.most = max(self.most, self.now)
            self.seen.append(head.split()[1].decode())
            if b"100-continue" in head:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if length := re.search(rb"content-length: (\d+)", head, re.IGNORECASE):
                self.bodies.append(len(await reader.readexactly(int(length[1]))))
            await self._gate.acquire()
            self.now -= 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def config(port: int, *targets: int, workers: int = 1, more: dict[str, Any] | None = None, **upstream: Any) -> Any:
    ends = [{"uri": f"http://127.0.0.1:{one}", "max_connections": 1} for one in targets]
    return {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": workers,
        "upstreams": {"app": {"targets": ends, "wait": "20s", **upstream}},
        "dispatch": [
            {"handler": "status", "path": "/status"},
            {"handler": "proxy", "proxy_pass": "upstream://app"},
        ],
        **(more or {}),
    }


class Site:
    """The program before a target."""

    def __init__(self, start: Start, port: int, settings: Any) -> None:
        self.port = port
        self.program = start(config=settings)

    def metric(self, name: str) -> int:
        """Return the one value of a metric with labels."""
        found = json.loads(get(self.port, "/status?format=json")[1])["metrics"].get(name)
        return int(found[0]["value"]) if found else 0

    def until_waiting(self, count: int) -> None:
        """Wait until so many requests wait."""
        self.program.wait_until(
            lambda: self.metric("npserver_upstream_waiting") == count or None, f"{count} waiting requests"
        )


@needs("h2load")
@pytest.mark.parametrize(("workers", "protocol"), [(1, "--h1"), (2, "--h1"), (2, "h2")])
def test_a_storm_of_clients_is_served_one_by_one(
    program: Start, backends: Backends, free_port: Callable[[], int], certificates: Any, workers: int, protocol: str
) -> None:
    target, port, secure = Counting(backends), free_port(), free_port()
    settings = config(port, target.port, workers=workers, more={"tls": [certificates().config]})
    settings["listen"].append(f"https://127.0.0.1:{secure}")
    site = Site(program, port, settings)
    kind = ["--h1", "-c", "30"] if protocol == "--h1" else ["-c", "3", "-m", "10"]
    command = ["h2load", "-n", "300", *kind, f"https://127.0.0.1:{secure}/"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "status codes: 300 2xx, 0 3xx, 0 4xx, 0 5xx" in told
    assert target.most == 1
    assert site.metric("npserver_upstream_waits_total") > 100
    assert site.metric("npserver_upstream_waiting") == 0


def test_requests_are_served_in_order_and_who_leaves_is_passed_over(
    program: Start, backends: Backends, free_port: Callable[[], int]
) -> None:
    target, port = Counting(backends, held=True), free_port()
    site = Site(program, port, config(port, target.port, queue=5))
    asked = [Asking(port, "/0")]
    site.program.wait_until(lambda: target.seen, "the first request")
    for number in range(1, 4):
        asked.append(Asking(port, f"/{number}"))
        site.until_waiting(number)
    with socket.create_connection(("127.0.0.1", port)) as leaving:
        leaving.sendall(b"GET /gone HTTP/1.1\r\nHost: a\r\n\r\n")
        site.until_waiting(4)
        leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes by a reset
    site.until_waiting(3)
    asked.append(Asking(port, "/5"))
    site.until_waiting(4)
    target.release(9)
    assert [one.finish() for one in asked] == [(200, b"ok")] * 5
    assert target.seen == ["/0", "/1", "/2", "/3", "/5"]
    assert target.most == 1


def test_the_newest_is_turned_away_when_the_queue_is_full_and_the_oldest_when_its_time_has_passed(
    program: Start, backends: Backends, free_port: Callable[[], int]
) -> None:
    target, port = Counting(backends, held=True), free_port()
    site = Site(program, port, config(port, target.port, queue=1, wait="1s"))
    first = Asking(port)
    site.program.wait_until(lambda: target.seen, "the first request")
    second = Asking(port, "/late")
    site.until_waiting(1)
    with socket.create_connection(("127.0.0.1", port), 30) as third:
        third.sendall(b"GET /shed HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = third.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 1\r\n" in answer
    site.program.wait_for(
        r"503 for GET /shed from 127\.0\.0\.1: the queue of upstream app is full: 1 wait \(upstreams\.app\.queue\)$"
    )
    answered = second.finish()
    assert answered is not None
    assert answered[0] == 503
    site.program.wait_for(
        r"503 for GET /late from .*: no target of upstream app was free within 1 s \(upstreams\.app\.wait\)$"
    )
    assert site.metric("npserver_upstream_queue_overflows_total") == 1
    assert site.metric("npserver_upstream_wait_timeouts_total") == 1
    target.release()
    assert first.finish() == (200, b"ok")


def test_a_target_that_is_down_is_waited_for_with_a_body_that_is_not_read(
    program: Start, backends: Backends, free_port: Callable[[], int]
) -> None:
    port, dead = free_port(), free_port()
    site = Site(program, port, config(port, dead))
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY)
        client.sendall(head)
        site.until_waiting(1)
        target = Counting(backends, port=dead)
        received = client.makefile("rb")
        assert received.readline() == b"HTTP/1.1 100 Continue\r\n"  # of the target
        client.sendall(BODY)
        assert received.readline() == b"\r\n"
        assert received.readline() == b"HTTP/1.1 200 OK\r\n"
    assert target.bodies == [len(BODY)]
    site.program.wait_for(rf"target http://127\.0\.0\.1:{dead} is reachable again")


def test_a_request_whose_target_is_killed_waits_until_it_is_back(
    program: Start, backends: Backends, free_port: Callable[[], int], slow: SlowUpstream
) -> None:
    port = free_port()
    site = Site(program, port, config(port, slow.port))
    asked = [Asking(port, "/in-progress")]
    slow.take_request()
    asked.append(Asking(port, "/behind"))
    site.until_waiting(1)
    slow.close()
    site.until_waiting(2)
    target = Counting(backends, port=slow.port)
    assert [one.finish() for one in asked] == [(200, b"ok")] * 2
    assert target.seen == ["/in-progress", "/behind"]
    assert target.most == 1


def test_a_reload_takes_those_that_wait_to_the_new_targets(
    program: Start, backends: Backends, free_port: Callable[[], int]
) -> None:
    port, dead, target = free_port(), free_port(), Counting(backends)
    site = Site(program, port, config(port, dead, workers=2))
    asked = [Asking(port, f"/{number}") for number in range(4)]
    site.until_waiting(4)
    site.program.configure(config(port, target.port, workers=2))
    site.program.send_signal(signal.SIGHUP)
    assert [one.finish() for one in asked] == [(200, b"ok")] * 4
    assert sorted(target.seen) == ["/0", "/1", "/2", "/3"]
    assert target.most == 1


def test_a_shutdown_answers_those_that_still_wait(
    program: Start, backends: Backends, free_port: Callable[[], int]
) -> None:
    port, dead = free_port(), free_port()
    site = Site(program, port, config(port, dead, more={"timeouts": {"shutdown": "2s"}}))
    asked = Asking(port)
    site.until_waiting(1)
    site.program.stop()
    answered = asked.finish()
    assert answered is not None
    assert answered[0] == 503
    site.program.wait_for(r"the server shuts down, and no target of upstream app was free \(timeouts\.shutdown\)$")
    assert "aborted after" not in site.program.errors


def test_a_websocket_waits_until_another_has_ended(
    program: Start, backends: Backends, free_port: Callable[[], int]
) -> None:
    port = free_port()
    site = Site(program, port, config(port, backends.websocket_echo()))
    with connect(f"ws://127.0.0.1:{port}/") as first:
        asked = Asking(port)  # is no WebSocket: the target answers it by 426
        site.until_waiting(1)
        first.send("a")
        assert first.recv(timeout=30) == "a"
        assert asked.answer is None
    answered = asked.finish()
    assert answered is not None
    assert answered[0] == 426


def forwarding(port: int, status: int, target: int, **upstream: Any) -> Any:
    ends = [{"uri": f"tcp://127.0.0.1:{target}", "max_connections": 1}]
    return {
        "listen": [f"http://127.0.0.1:{status}", f"tcp://127.0.0.1:{port}"],
        "workers": 1,
        "upstreams": {"app": {"targets": ends, "wait": "20s", **upstream}},
        "dispatch": [{"handler": "status"}, {"handler": "forward", "forward_to": "upstream://app"}],
    }


def is_turned_away(port: int) -> bool:
    """Connect. Return whether the server closes the connection; it may be so quick that connect(2) tells of it."""
    try:
        with socket.create_connection(("127.0.0.1", port), 20) as client:
            return is_closed(client)
    except ConnectionResetError:
        return True


def test_forwarded_connections_wait_for_a_place_and_for_a_target(
    program: Start, backends: Backends, free_port: Callable[[], int]
) -> None:
    port, status, target = free_port(), free_port(), free_port()
    site = Site(program, status, forwarding(port, status, target, queue=2))
    with contextlib.ExitStack() as stack:
        clients = []
        for number in range(2):
            clients.append(client := stack.enter_context(socket.create_connection(("127.0.0.1", port), 20)))
            client.sendall(b"%d" % number)
            site.until_waiting(number + 1)
        assert is_turned_away(port)
        backends.tcp_echo(target)
        assert clients[0].recv(9) == b"0"
        site.until_waiting(1)
        clients[0].close()
        assert clients[1].recv(9) == b"1"
    site.program.wait_for(
        r"dispatch\[1\]: closing connection of client 127.0.0.1:\d+ \(upstreams\.app\.queue\): "
        r"the queue of upstream app is full: 2 wait$"
    )


@pytest.mark.parametrize(
    ("wait", "shutdown", "reason"),
    [
        (
            "500ms",
            "5s",
            r"upstreams\.app\.wait\): no target of upstream app was free within 0\.5 s; last error: .*refused",
        ),
        ("20s", "2s", r"timeouts\.shutdown\): the server shuts down, and no target of upstream app was free$"),
    ],
)
def test_a_forwarded_connection_that_waits_in_vain_is_closed(
    program: Start, free_port: Callable[[], int], wait: str, shutdown: str, reason: str
) -> None:
    port, status = free_port(), free_port()
    settings = {**forwarding(port, status, free_port(), wait=wait), "timeouts": {"shutdown": shutdown}}
    site = Site(program, status, settings)
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        site.until_waiting(1)
        if wait == "20s":
            site.program.stop()
        assert is_closed(client)
    site.program.wait_for(reason)


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(9) == b""
    except ConnectionResetError:
        return True
