"""Configs, clients and commands of the tests of drained listeners."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.stage.program import Program

Start = Callable[..., Program]
EVERYWHERE = pytest.mark.parametrize(
    ("loop", "workers"), [("asyncio", 0), ("asyncio", 2), ("uvloop", 1), ("uvloop", 2)]
)


def serving(port: int, other: int, workers: int, *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a config with two listeners: "web" is drained, "other" has the status page."""
    return {
        "workers": workers,
        "listen": [{"uri": f"http://127.0.0.1:{port}", "name": "web"}, f"http://127.0.0.1:{other}"],
        "dispatch": [
            {"handler": "status", "path": "/status"},
            *rules,
            {"handler": "respond", "path": "/**", "body": "hello"},
        ],
        **more,
    }


def start(program: Start, config: dict[str, Any], loop: str = "asyncio") -> Program:
    one = program(config=config, env={"NPSERVER_LOOP": loop})
    one.wait_for("npserver 1")
    return one


def last(done: tuple[int, str]) -> tuple[int, str]:
    """Return the exit status of a command, and the last line that it said."""
    return done[0], done[1].splitlines()[-1]


@contextlib.contextmanager
def kept_client(port: int) -> Iterator[http.client.HTTPConnection]:
    """Yield a client whose connection has had a request and is idle."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as client:
        assert answer_of(client) == (200, None)
        yield client


def answer_of(client: http.client.HTTPConnection, path: str = "/") -> tuple[int, str | None]:
    """Return the status and Connection of an answer over a kept connection."""
    client.request("GET", path)
    answer = client.getresponse()
    answer.read()
    return answer.status, answer.getheader("Connection")
