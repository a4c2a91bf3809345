"""Tests in the config: a reload has to pass them, a start warns of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import npserver
from npserver.errors import ConfigError
from tests.stage.asking import get
from tests.stage.program import ROOT, Program

Start = Callable[..., Program]


def config(port: int, workers: int, *, allow: list[str], gets: int = 403) -> dict[str, Any]:
    """A config whose admin page is for some networks, and must be for nobody else."""
    url = f"http://127.0.0.1:{port}/admin"
    return {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": workers,
        "dispatch": [{"path": "/admin", "handler": "respond", "body": "admin", "allow": allow}],
        "expect": [{"ask": url, "from": "203.0.113.1", "gets": gets}, {"ask": url, "gets": 200}],
    }


def reload(one: Program) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "npserver", "reload", "-config", str(one.config_file)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("workers", [0, 2])
def test_a_reload_that_fails_a_test_is_refused_with_its_place(
    program: Start, free_port: Callable[[], int], workers: int
) -> None:
    port = free_port()
    one = program(config=config(port, workers, allow=["127.0.0.0/8"]))
    one.wait_until(lambda: reload(one).returncode == 0, "the control socket")
    assert "expected" not in one.errors
    one.configure(config(port, workers, allow=["0.0.0.0/0"]))
    outcome = reload(one)
    assert outcome.returncode == 1
    assert ":20:12: " in outcome.stderr, outcome.stderr
    assert (
        f"'http://127.0.0.1:{port}/admin' from 203.0.113.1: expected the answer 403, but it is answered with 200"
        in (outcome.stderr)
    )
    assert "reload failed: keeping the current configuration" in one.errors
    assert get(port, "/admin") == (200, b"admin")
    one.configure(config(port, workers, allow=["127.0.0.1"]))
    assert reload(one).returncode == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_a_start_warns_of_a_test_that_fails_and_serves(
    program: Start, free_port: Callable[[], int], workers: int
) -> None:
    port = free_port()
    one = program(config=config(port, workers, allow=["127.0.0.0/8"], gets=200))
    one.wait_for(r"npserver.json:\d+:\d+: warning: .* expected the answer 200, but it is answered with 403")
    assert get(port, "/admin") == (200, b"admin")


async def test_an_embedded_server_keeps_its_config_too(free_port: Callable[[], int]) -> None:
    port = free_port()
    async with npserver.serve(config(port, 0, allow=["127.0.0.0/8"])) as server:
        with pytest.raises(ConfigError, match="expected the answer 403"):
            await server.reload(config(port, 0, allow=["0.0.0.0/0"]))
