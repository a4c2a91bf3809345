"""Drains last over `npserver upgrade`: those of targets and of listeners that the new config names, too."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stage.asking import Background, get, refuses
from tests.stage.backends import Backends
from tests.stage.draining import kept_client, last, serving, start
from tests.stage.program import Program
from tests.stage.upgrading import stop_successor, upgrade, wait_gone

Start = Callable[..., Program]
WITH_WORKERS = pytest.mark.parametrize(("loop", "workers"), [("asyncio", 2), ("uvloop", 1)])


class Knocking(Background):
    """Connects to a port again and again until the block ends."""

    def __init__(self, port: int) -> None:
        super().__init__(self._knock)
        self.port, self.admitted = port, 0

    def _knock(self) -> None:
        while not self.is_over.wait(0.001):
            self.admitted += not refuses(self.port)


@WITH_WORKERS
def test_of_targets(program: Start, backends: Backends, free_port: Callable[[], int], loop: str, workers: int) -> None:
    a, b, port, other = backends.http("a"), backends.http("b"), free_port(), free_port()
    targets = [f"http://127.0.0.1:{one}" for one in (a, b)]
    rule = {"handler": "proxy", "path": "/app/**", "proxy_pass": "upstream://app"}
    config = serving(port, other, workers, rule, upstreams={"app": {"targets": targets}})
    one = start(program, config, loop)

    def names() -> set[str]:
        return {json.loads(get(port, "/app/")[1])["name"] for _ in range(20)}

    assert last(one.command("drain", targets[0])) == (0, "empty")
    pid, _ = upgrade(one)
    try:
        assert names() == {"b"}
        assert last(one.command("drain", targets[0])) == (0, "empty")
        assert one.command("drain", targets[1])[0] == 1  # it is the last one that can be used
        assert one.command("undrain", targets[0])[0] == 0
        assert names() == {"a", "b"}
    finally:
        stop_successor(pid)


@WITH_WORKERS
def test_of_listeners(program: Start, free_port: Callable[[], int], socket_dir: Path, loop: str, workers: int) -> None:
    """The new program may have more workers, whose sockets are new."""
    port, other, path = free_port(), free_port(), socket_dir / "web.sock"
    config = serving(port, other, workers)
    config["listen"].append({"uri": f"unix://{path}", "name": "file"})
    one = start(program, config, loop)
    for name in ("web", "file"):
        assert last(one.command("drain", name)) == (0, "empty")
    one.configure(config | {"workers": workers + 1})
    with Knocking(port) as knocking:
        pid, _ = upgrade(one)
    try:
        assert knocking.admitted == 0
        assert refuses(port)
        assert not path.exists()
        assert get(other)[0] == 200
        shown = {each["uri"]: each["is_drained"] for each in json.loads(one.command("status", "-json")[1])["listeners"]}
        assert list(shown.values()) == [True, False, True]
        assert last(one.command("drain", "web")) == (0, "empty")
        for name in ("web", "file"):
            assert one.command("undrain", name)[0] == 0
        assert [get(port)[0] for _ in range(12)] == [200] * 12
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        assert one.command("drain", "file")[0] == 0
    finally:
        stop_successor(pid)
    assert list(socket_dir.iterdir()) == []


@WITH_WORKERS
def test_not_of_what_the_new_config_does_not_name(
    program: Start, backends: Backends, free_port: Callable[[], int], loop: str, workers: int
) -> None:
    a, b, port, other = backends.http("a"), backends.http("b"), free_port(), free_port()
    rule = {"handler": "proxy", "path": "/app/**", "proxy_pass": "upstream://app"}

    def config(*targets: int) -> dict[str, Any]:
        uris = [f"http://127.0.0.1:{one}" for one in targets]
        return serving(port, other, workers, rule, upstreams={"app": {"targets": uris}})

    one = start(program, config(a, b), loop)
    for name in (f"127.0.0.1:{a}", "web"):
        assert last(one.command("drain", name)) == (0, "empty")
    without = config(b)
    del without["listen"][0]
    one.configure(without)
    pid, _ = upgrade(one)
    try:
        one.wait_for(rf"the drain of target http://127\.0\.0\.1:{a} has ended: the config does not name it")
        one.wait_for(rf"the drain of listener http://127\.0\.0\.1:{port} has ended: the config does not name it")
        wait_gone(one.process.pid)
        one.configure(config(a, b))
        assert one.command("reload")[0] == 0
        assert get(port)[0] == 200
        assert {json.loads(get(other, "/app/")[1])["name"] for _ in range(20)} == {"a", "b"}
    finally:
        stop_successor(pid)


@WITH_WORKERS
def test_connections_of_a_drained_listener_end_in_the_old_program(
    program: Start, free_port: Callable[[], int], loop: str, workers: int
) -> None:
    port, other = free_port(), free_port()
    one = start(program, serving(port, other, workers), loop)
    with kept_client(port) as client:
        assert one.command("drain", "-no-wait", "web")[0] == 0
        pid, _ = upgrade(one)
        try:
            client.request("GET", "/")
            answer = client.getresponse()
            assert (answer.status, answer.read(), answer.getheader("Connection")) == (200, b"hello", "close")
            assert one.wait_exit() == 0
            assert refuses(port)
        finally:
            stop_successor(pid)
