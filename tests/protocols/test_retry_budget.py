"""The retry budget is spent by retries that are sent, and by nothing else: neither where no target is left, nor for a
request that waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from npserver.upstream.retry_budget import MIN_RETRIES
from tests.protocols.proxying import Connection, Origin, Script, answering, ok
from tests.stage.site import Site, site

STATUS = {"handler": "status", "path": "/status"}
ILL = b"HTTP/1.1 503 Ill\r\nContent-Length: 3\r\n\r\nill"
BOUNDS = {"retry_budget": "0%", "retries": 3, "retry_on": ["connect", "send", "503"]}


async def breaking(connection: Connection) -> None:
    await connection.head()


async def metric(running: Site, name: str) -> int:
    found = json.loads((await running.ask("/status?format=json")).body)["metrics"].get(f"npserver_upstream_{name}", [])
    return sum(one["value"] for one in found)


async def until(running: Site, name: str, value: int) -> None:
    async with asyncio.timeout(30):
        while await metric(running, name) != value:
            await asyncio.sleep(0.01)


def proxy(**upstream: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"handler": "proxy", "proxy_pass": "upstream://app"}, {"upstreams": {"app": {**BOUNDS, **upstream}}}


def forward_auth(**upstream: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    rule = {"handler": "respond", "forward_auth": {"to": "upstream://app"}}
    return rule, {"upstreams": {"app": {**BOUNDS, **upstream}}}


@pytest.mark.parametrize("made", [proxy, forward_auth])
@pytest.mark.parametrize(
    ("script", "statuses"),
    [
        (answering(ILL), {"proxy": (503, 503), "forward_auth": (502, 502)}),
        (breaking, {"proxy": (503, 502), "forward_auth": (503, 502)}),
    ],
    ids=["status", "broken"],
)
async def test_without_another_target_nothing_is_spent(
    made: Callable[..., Any], script: Script, statuses: dict[str, tuple[int, int]]
) -> None:
    async with Origin(script) as first, Origin(script) as second:
        rule, config = made(targets=[first.url, second.url])
        status, status_beyond = statuses[made.__name__]
        async with site(STATUS, rule, **config) as running:
            for _ in range(MIN_RETRIES):
                assert (await running.ask("/")).status == status
            assert await metric(running, "retries_total") == MIN_RETRIES
            assert await metric(running, "requests_total") == 2 * MIN_RETRIES
            assert await metric(running, "retries_refused_total") == 0
            assert (await running.ask("/")).status == status_beyond
            assert await metric(running, "retries_total") == MIN_RETRIES
            assert await metric(running, "requests_total") == 2 * MIN_RETRIES + 1
            assert await metric(running, "retries_refused_total") == 1


@pytest.mark.parametrize("made", [proxy, forward_auth])
@pytest.mark.parametrize("script", [answering(ILL), breaking], ids=["status", "broken"])
async def test_a_single_target_spends_nothing(made: Callable[..., Any], script: Script) -> None:
    async with Origin(script) as only:
        rule, config = made(targets=[only.url])
        async with site(STATUS, rule, **config) as running:
            for _ in range(MIN_RETRIES + 1):
                assert (await running.ask("/")).status in (502, 503)
            assert await metric(running, "requests_total") == MIN_RETRIES + 1
            assert await metric(running, "retries_total") == await metric(running, "retries_refused_total") == 0


async def test_a_request_that_waits_spends_once_it_is_sent() -> None:
    is_well, may_break = True, asyncio.Event()

    async def script(connection: Connection) -> None:
        while head := await connection.head():
            if head.startswith(b"GET /health "):
                await connection.send(ok() if is_well else ILL)
            elif may_break.is_set() and not head.startswith(b"GET /break "):
                await connection.send(ok())
            else:
                await may_break.wait()
                return

    check = {"path": "/health", "interval": "10ms", "rise": 1, "fall": 1}
    count = MIN_RETRIES + 2
    async with Origin(script) as only:
        rule, config = proxy(targets=[only.url], wait="10s", health_check=check)
        async with site(STATUS, rule, **config) as running:
            asked = [asyncio.create_task(running.ask("/")) for _ in range(count)]
            await until(running, "active", count)
            is_well = False
            await until(running, "health", -1)
            may_break.set()
            await until(running, "waiting", count)
            assert await metric(running, "retries_total") == 0
            is_well = True
            statuses = sorted([(await one).status for one in asked])
            assert statuses == [200] * MIN_RETRIES + [502] * 2
            assert await metric(running, "retries_total") == MIN_RETRIES
            assert await metric(running, "retries_refused_total") == 2
            may_break.clear()
            last = asyncio.create_task(running.ask("/break"))
            await until(running, "active", 1)
            is_well = False
            await until(running, "health", -1)
            may_break.set()
            assert (await last).status == 502  # no budget is left: it does not wait for a target first
            assert await metric(running, "retries_refused_total") == 3
