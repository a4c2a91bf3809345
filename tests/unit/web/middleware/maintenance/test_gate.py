"""Maintenance of rules: who is kept out, when, and with what page."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import npserver
from npserver.networks import Networks, parse_network
from npserver.web.middleware.maintenance import gate as gates
from npserver.web.middleware.maintenance.gate import MaintenanceGate
from tests.stage.exchanges import exchange


@asynccontextmanager
async def asking(rule: dict[str, Any], **config: Any) -> AsyncIterator[httpx.AsyncClient]:
    status = {"handler": "status", "path": "/status"}
    rules = [status, {"handler": "respond", "body": "open", **rule}]
    async with (
        npserver.serve({"listen": ["http://127.0.0.1:0"], "dispatch": rules, **config}, shutdown_s=0) as server,
        httpx.AsyncClient(base_url=server.url()) as client,
    ):
        yield client


async def test_true_answers_all_with_503_and_a_time_to_come_again() -> None:
    async with asking({"maintenance": True}) as client:
        for method in ("GET", "POST", "HEAD"):
            answer = await client.request(method, "/", content=b"x" if method == "POST" else b"")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "600")
            assert answer.headers["cache-control"] == "no-store"
        metrics = (await client.get("/status", headers={"Accept": "text/plain"})).text
    assert "npserver_http_maintenance_responses_total 3" in metrics


@pytest.mark.parametrize("section", [False, {"enabled": False}, {"except": "127.0.0.0/8"}, {"except": ["staff"]}])
async def test_those_who_are_let_in_see_the_site(section: Any) -> None:
    async with asking({"maintenance": section}, networks={"staff": ["127.0.0.1"]}) as client:
        assert (await client.get("/")).text == "open"


async def test_its_page_comes_before_error_pages_and_for_its_own_refusals_only(tmp_path: Path) -> None:
    (tmp_path / "down.html").write_text("<p>back soon")
    (tmp_path / "error.html").write_text("<p>error")
    page, error = str(tmp_path / "down.html"), str(tmp_path / "error.html")
    section = {"page": page, "retry_after": "1.2s", "except": "10.0.0.0/8"}
    async with asking({"maintenance": section, "error_pages": {"5xx": error}}) as client:
        answer = await client.get("/")
        assert (answer.text, answer.headers["content-type"]) == ("<p>back soon", "text/html; charset=utf-8")
        assert answer.headers["retry-after"] == "2"
    gate = gate_of("", exempt="192.0.2.0/24", page=(b"", b"down"))
    assert gate.failure(exchange(client_ip="192.0.2.1"), 503) is None
    assert gate.failure(exchange(client_ip="198.51.100.1"), 502) is None
    assert gate.failure(exchange(client_ip="198.51.100.1"), 503) == (b"", b"down")


async def test_clients_are_told_no_time_if_it_is_zero() -> None:
    async with asking({"maintenance": {"retry_after": 0}}) as client:
        assert "retry-after" not in (await client.get("/")).headers


async def test_a_file_switches_it_on_and_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "CHECK_S", -1)  # looked for at each request
    async with asking({"maintenance": {"file": str(tmp_path / "down")}}) as client:
        for _ in range(2):
            assert (await client.get("/")).text == "open"
            (tmp_path / "down").touch()
            assert (await client.get("/")).status_code == 503
            (tmp_path / "down").unlink()
        assert (await client.get("/")).text == "open"


async def test_the_file_lies_beside_the_config_wherever_npserver_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "CHECK_S", -1)
    (tmp_path / "etc").mkdir()
    rule = {"handler": "respond", "body": "open", "maintenance": {"file": "down"}}
    config = tmp_path / "etc" / "npserver.json"
    config.write_text(json.dumps({"listen": ["http://127.0.0.1:0"], "dispatch": [rule]}))
    async with npserver.serve(str(config), shutdown_s=0) as server, httpx.AsyncClient(base_url=server.url()) as client:
        assert (await client.get("/")).text == "open"
        (tmp_path / "etc" / "down").touch()
        assert (await client.get("/")).status_code == 503


class Clock:
    now = 100.0


def gate_of(file: str, exempt: str = "", page: Any = None, clock: Any = Clock) -> MaintenanceGate:
    context: Any = exchange().context
    context.sweeper = clock
    context.row = type("Row", (), {"slots": [0], "slot": staticmethod(lambda name: 0)})
    networks = Networks([parse_network(exempt)]) if exempt else None
    return MaintenanceGate(context, file, networks, page, 0, "dispatch[1].maintenance")


def test_the_file_is_looked_for_now_and_then(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock, request = Clock(), exchange().request
    gate = gate_of(str(tmp_path / "down"), clock=clock)
    assert gate.gate("192.0.2.1", request) is None
    (tmp_path / "down").touch()
    assert gate.gate("192.0.2.1", request) is None
    clock.now += gates.CHECK_S
    refusal = gate.gate("192.0.2.1", request)
    assert refusal is not None
    assert (refusal.status, refusal.key) == (503, "dispatch[1].maintenance.file")
    assert "maintenance is on" in caplog.text


def test_a_file_that_cannot_be_looked_for_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gate = gate_of(str(tmp_path / ("x" * 300)))
    assert [gate.gate("192.0.2.1", exchange().request) for _ in range(3)] == [None] * 3
    assert caplog.text.count("cannot look for") == 1
    assert "dispatch[1].maintenance.file" in caplog.text
