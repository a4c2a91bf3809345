"""Targets that fail are ejected, and retries are bounded, in the real program with two workers.

Covers `upstream.ejection` and `upstream.retry_budget` at work with the proxy.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.stage.asking import get
from tests.stage.backends import Backends
from tests.stage.program import Program

Start = Callable[..., Program]


class Answering:
    """A target that answers each request with the same status; every other body is chunked."""

    def __init__(self, backends: Backends, status: int) -> None:
        self.status = status
        self.seen = 0
        self.port = backends.tcp(self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            self.seen += 1
            writer.write(b"HTTP/1.1 %d Some\r\n" % self.status)
            is_even = self.seen % 2 == 0
            writer.write(b"Content-Length: 0\r\n\r\n" if is_even else b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")


def start(program: Start, port: int, *targets: Answering, **upstream: Any) -> Program:
    ends = [f"http://127.0.0.1:{one.port}" for one in targets]
    return program(
        config={
            "listen": [f"http://127.0.0.1:{port}"],
            "workers": 2,
            "upstreams": {"app": {"targets": ends, **upstream}},
            "dispatch": [
                {"handler": "status", "path": "/status"},
                {"handler": "proxy", "proxy_pass": "upstream://app"},
            ],
        }
    )


def metric(port: int, name: str) -> list[int]:
    found = json.loads(get(port, "/status?format=json")[1])["metrics"].get(name, [])
    return [one["value"] for one in found]


def test_a_target_with_too_many_5xx_is_ejected_and_comes_back_and_404_is_no_failure(
    program: Start, backends: Backends, free_port: Callable[[], int]
) -> None:
    bad, fine, port = Answering(backends, 500), Answering(backends, 404), free_port()
    health = {"errors": "80%", "of": 10, "eject": "1s"}
    one = start(program, port, bad, fine, health=health)
    answers = Counter(get(port)[0] for _ in range(40))
    assert answers.keys() == {404, 500}
    found = one.wait_for(
        rf"target http://127\.0\.0\.1:{bad.port} of upstream app ejected for 1 s: "
        r"(\d+) of its last (\d+) requests failed \(upstreams\.app\.health\)$"
    )
    assert 10 <= int(found[1]) <= int(found[2]) <= bad.seen
    assert metric(port, "npserver_upstream_ejections_total") == [1, 0]
    assert metric(port, "npserver_upstream_errors_total")[1] == 0
    one.wait_for(
        rf"target http://127\.0\.0\.1:{bad.port} of upstream app gets requests again \(upstreams\.app\.health\.eject\)$"
    )
    one.wait_until(lambda: get(port)[0] == 500 or None, "requests to the target that is back")
    assert f"target http://127.0.0.1:{fine.port}" not in one.errors


def test_an_ejected_target_gets_nothing(program: Start, backends: Backends, free_port: Callable[[], int]) -> None:
    bad, fine, port = Answering(backends, 503), Answering(backends, 200), free_port()
    one = start(program, port, bad, fine, health={"of": 5}, retry_on=["503"], retries=1)
    assert {get(port)[0] for _ in range(30)} == {200}  # the retries hide it
    one.wait_for(r"ejected for 30 s: (\d+) of its last \1 requests failed")
    before = bad.seen
    assert {get(port)[0] for _ in range(20)} == {200}
    assert bad.seen == before


def test_retries_are_bounded_over_all_workers(program: Start, backends: Backends, free_port: Callable[[], int]) -> None:
    first, second, port = Answering(backends, 503), Answering(backends, 503), free_port()
    one = start(program, port, first, second, retry_on=["503"], retries=1, retry_budget="0%")
    assert {get(port)[0] for _ in range(30)} == {503}
    assert first.seen + second.seen == 30 + 10
    one.wait_for(r"upstream app: no more retries for now, 10 for \d+ requests \(upstreams\.app\.retry_budget\)$")
    assert metric(port, "npserver_upstream_retries_total") == [10]
    assert metric(port, "npserver_upstream_retries_refused_total") == [20]
