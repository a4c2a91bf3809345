"""Rules with conditions in the real program: WebSockets apart, a reload amid requests, two workers."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from typing import Any

from websockets.sync.client import connect

from tests.stage.backends import Backends
from tests.stage.program import Program


def curl(port: int, *arguments: str, path: str = "/") -> str:
    command = ["curl", "-sS", "--max-time", "10", *arguments, f"http://127.0.0.1:{port}{path}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_websockets_canaries_and_reads_go_where_the_rules_say(
    program: Callable[..., Program], free_port: Callable[[], int], backends: Backends
) -> None:
    port, target = free_port(), backends.websocket_echo()

    def rules(canary: str) -> list[dict[str, Any]]:
        return [
            {"match": {"protocol": "websocket"}, "handler": "proxy", "proxy_pass": f"http://127.0.0.1:{target}"},
            {"name": "canary", "match": {"cookie": {"beta": canary}}, "handler": "respond", "body": "canary"},
            {"match": {"method": ["GET", "HEAD"]}, "handler": "respond", "body": "read"},
            {"path": "/users/*/avatar", "not": {"method": "GET"}, "handler": "respond", "body": "avatar"},
            {"handler": "respond", "body": "write"},
        ]

    config = {"listen": [f"http://127.0.0.1:{port}"], "workers": 2, "dispatch": rules("1*")}
    running = program(config=config)
    with connect(f"ws://127.0.0.1:{port}/chat") as socket:
        socket.send("hello")
        assert socket.recv(timeout=30) == "hello"
        for _ in range(12):
            assert curl(port) == "read"
            assert curl(port, "-b", "a=b; beta=1x") == "canary"
            assert curl(port, "-d", "x") == "write"
            assert curl(port, "-d", "x", path="/users/joe/avatar") == "avatar"
            assert curl(port, path="/users/joe/avatar") == "read"
        running.configure({**config, "dispatch": rules("2")})
        running.send_signal(signal.SIGHUP)
        running.wait_until(lambda: {curl(port, "-b", "beta=1x") for _ in range(12)} == {"read"}, "the new rules")
        running.wait_until(lambda: {curl(port, "-b", "beta=2") for _ in range(12)} == {"canary"}, "the new cookie")
        socket.send("still here")
        assert socket.recv(timeout=30) == "still here"
