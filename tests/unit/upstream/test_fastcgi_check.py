"""Active health checks of FastCGI servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from npserver.upstream.health_checks import HealthChecks
from tests.protocols.proxying import Origin
from tests.protocols.scripting import ScriptStage
from tests.stage.fastcgi import STDERR, Asked, end, page, record, serving


async def verdict(origin: Origin, root: Path, **check: Any) -> str:
    """Check once; return the reason why the target is not healthy."""
    check = {"type": "fastcgi", "timeout": 1, **check}
    upstreams = {"php": {"targets": [f"tcp://127.0.0.1:{origin.port}"], "health_check": check}}
    async with ScriptStage("upstream://php", root, config={"upstreams": upstreams}) as stage:
        (service,) = stage.services
        assert isinstance(service, HealthChecks)
        return await service.check(stage.proxy.upstream.targets[0])


async def test_the_path_is_asked_for(tmp_path: Path) -> None:
    asked: list[Asked] = []
    async with Origin(serving(page(b"pong"), asked=asked)) as origin:
        fields = {"X-Probe": "1"}
        assert await verdict(origin, tmp_path, path="/ping?a", headers=fields, expect={"body": "pong"}) == ""
    (one,) = asked
    assert (one["SCRIPT_NAME"], one["SCRIPT_FILENAME"], one["QUERY_STRING"]) == ("/ping", "/ping", "a")
    assert (one["REQUEST_METHOD"], one["HTTP_X_PROBE"], one.body) == ("GET", "1", b"")
    assert not one.is_kept


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (page(b"no", b"Status: 404 Not Found\r\n"), "status 404 (health_check.expect.status)"),
        (page(b"no"), "'pong' not in the body"),
        (record(STDERR, b"bad") + end(), "the response is empty"),
        (end(0, 2), "it is overloaded"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not a FastCGI record"),
        (b"", "connection closed without a response"),
    ],
)
async def test_other_answers_are_failures(tmp_path: Path, answer: bytes, reason: str) -> None:
    async with Origin(serving(answer)) as origin:
        assert reason in await verdict(origin, tmp_path, path="/ping", expect={"status": 200, "body": "pong"})
