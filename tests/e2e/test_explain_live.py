"""`npserver explain -live`: as the running server would do it now."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.stage.backends import Backends
from tests.stage.program import ROOT, Program

Start = Callable[..., Program]


def run(one: Program, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "npserver", *words, "-config", str(one.config_file)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("workers", [0, 2])
def test_health_and_bans_are_those_of_the_moment(
    program: Start, free_port: Callable[[], int], backends: Backends, workers: int
) -> None:
    up = f"http://127.0.0.1:{backends.http()}"
    port = free_port()
    config: dict[str, Any] = {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": workers,
        "networks": {"banned": {"learn": {"scan": "20/1m"}}},
        "upstreams": {
            "app": {
                "targets": [f"http://127.0.0.1:{free_port()}", up],
                "health_check": {"path": "/", "interval": 0.2, "timeout": 5},
            }
        },
        "dispatch": [{"handler": "proxy", "proxy_pass": "upstream://app", "deny": "banned"}],
    }
    one = program(config=config)
    url = f"http://127.0.0.1:{port}/"
    one.wait_until(lambda: "unhealthy" in run(one, "explain", url, "-live").stdout, "the result of the check")
    assert "unhealthy" not in run(one, "explain", url).stdout
    assert run(one, "explain", url, "-live", "-from", "203.0.113.9").stderr == ""
    assert run(one, "ban", "203.0.113.9").returncode == 0
    assert "is answered with 403" in run(one, "explain", url, "-live", "-from", "203.0.113.9").stdout
    assert "is passed to upstream://app" in run(one, "explain", url, "-from", "203.0.113.9").stdout
    one.configure({**config, "server_header": "other"})
    assert "uses another config than" in run(one, "explain", url, "-live").stderr


def test_a_server_that_does_not_run_is_said(program: Start, free_port: Callable[[], int]) -> None:
    one = program(config={"listen": [f"http://127.0.0.1:{free_port()}"]})
    one.stop()
    done = run(one, "explain", "http://127.0.0.1/", "-live")
    assert done.returncode == 1
    assert done.stderr.startswith("npserver explain: no running server uses the config")
