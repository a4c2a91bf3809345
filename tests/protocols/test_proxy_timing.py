"""Response times of targets, measured by the proxy for `balance` `least-time`.

Covers `web.handlers.proxy.timed_call`.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

import pytest

from npserver.web.handlers.proxy import timed_call
from tests.protocols.proxying import Connection, Origin, Stage, answering, get, ok, post

HALF = b"HTTP/1.1 200 O\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nwe\r\n"
REST = b"2\r\nll\r\n0\r\n\r\n"
ILL = b"HTTP/1.1 500 F\r\nContent-Length: 0\r\n\r\n"


async def pieces(connection: Connection) -> None:
    """Answer in two pieces."""
    await connection.head()
    await connection.send(HALF)
    await connection.send(REST)


async def lost(connection: Connection) -> None:
    """Close without an answer."""
    await connection.head()


@pytest.mark.parametrize("wait", [0, 5], ids=["at once", "wait"])
@pytest.mark.parametrize(
    ("script", "status", "is_failure"),
    [(answering(ok()), 200, False), (pieces, 200, False), (answering(ILL), 500, True), (lost, 502, True)],
    ids=["whole", "in pieces", "500", "lost"],
)
async def test_the_time_of_each_attempt_counts(
    script: Any, status: int, is_failure: bool, wait: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timed_call, "FAILURE_S", 1000.0)
    async with Origin(script) as origin, Origin(answering(ok())) as other:
        targets = [origin.url, {"uri": other.url, "backup": True}]
        upstream = {"targets": targets, "balance": "least-time", "wait": wait}
        async with Stage("upstream://app", config={"upstreams": {"app": upstream}}) as stage:
            first, second = stage.proxy.upstream.targets
            assert first.response_time_s == 0
            assert (await stage.ask(post(b"x")))[0] == status
            assert (first.response_time_s > 100) == is_failure
            assert first.response_time_s > 0
            assert second.response_time_s == 0
            assert stage.loads == [0, 0]


async def test_the_faster_target_is_chosen() -> None:
    async with Origin(answering(ok(b"slow"))) as slow, Origin(answering(ok(b"fast"))) as fast:
        upstream = {"targets": [slow.url, fast.url], "balance": "least-time"}
        async with Stage("upstream://app", config={"upstreams": {"app": upstream}}) as stage:
            for target, time_s in zip(stage.proxy.upstream.targets, (1000.0, 1.0), strict=True):
                target.state.observe(time_s, monotonic())
            assert [(await stage.ask(get()))[2] for _ in range(5)] == [b"fast"] * 5
