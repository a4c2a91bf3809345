"""`npserver status` of the real program: table, JSON, `-watch`, exit status.

Covers `cli.running.status`, `process.control.host`, `process.control.status` and `upstream.registry`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stage.asking import get, worker_pids
from tests.stage.program import ROOT, Program

Start = Callable[..., Program]
WORKERS = pytest.mark.parametrize("workers", [0, 2])


def status(one: Program) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(one.command("status", "-json")[1])
    return told


def config(port: int, closed: int, workers: int, **extra: Any) -> dict[str, Any]:
    check = {"interval": "100ms", "timeout": "1s", "fall": 1}
    return {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": workers,
        "dispatch": [
            {"handler": "proxy", "path": "/app/**", "proxy_pass": "upstream://app"},
            {"handler": "respond", "body": "here"},
        ],
        "upstreams": {"app": {"targets": [f"http://127.0.0.1:{closed}"], "health_check": check}},
        **extra,
    }


@WORKERS
def test_state_of_a_server(program: Start, free_port: Callable[[], int], workers: int) -> None:
    port, closed = free_port(), free_port()
    one = program(config=config(port, closed, workers))
    one.wait_for("npserver 1")
    one.wait_for("is down: ")
    with socket.create_connection(("127.0.0.1", port)) as kept:
        kept.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert kept.recv(1000).startswith(b"HTTP/1.1 200")
        told = status(one)
        assert [listener["connections"] for listener in told["listeners"]] == [1]
    roles = ["server"] if workers == 0 else ["master", "worker 0", "worker 1", "controller"]
    assert [process["role"] for process in told["processes"]] == roles
    assert all(process["memory_bytes"] > 1 << 20 for process in told["processes"])
    assert told["pid"] == one.process.pid and told["config"] == str(one.config_file)
    [target] = told["targets"]
    assert target["uri"] == f"http://127.0.0.1:{closed}" and target["health"] == "down"
    assert target["why"] == "connection refused"
    assert told["attention"] == [f"target {target['uri']} of upstream app is down: {target['why']}"]
    done = one.command("status")
    assert done[0] == 3 and f"attention: {told['attention'][0]}\n" in done[1] and "listener" in done[1]


@WORKERS
def test_reload_changes_what_is_shown(program: Start, free_port: Callable[[], int], workers: int) -> None:
    port, closed = free_port(), free_port()
    one = program(config=config(port, closed, workers))
    one.wait_for("npserver 1")
    assert status(one)["last_reload"] is None
    one.configure(config(port, closed, workers, upstreams={}, dispatch=[{"handler": "respond", "body": "new"}]))
    assert one.command("reload")[0] == 0
    told = status(one)
    assert told["targets"] == [] and told["last_reload"]["errors"] == [] and told["attention"] == []
    assert one.command("status")[0] == 0
    one.configure("{")
    assert one.command("reload")[0] == 1
    done = one.command("status")
    assert done[0] == 3 and "the last reload, at" in done[1]


def test_restarted_worker_is_counted(program: Start, free_port: Callable[[], int]) -> None:
    one = program(config=config(port := free_port(), free_port(), 2))
    one.wait_for("npserver 1")
    victim = worker_pids(one)[0]
    os.kill(victim, signal.SIGKILL)
    one.wait_until(
        lambda: sum(process["restarts"] for process in status(one)["processes"] if process["is_ready"]) == 1,
        "a restarted worker",
    )
    assert get(port) == (200, b"here")


def test_certificates_are_shown_without_a_status_rule(program: Start, free_port: Callable[[], int]) -> None:
    one = program(
        config={
            "listen": [f"https://127.0.0.1:{free_port()}"],
            "tls": "internal",
            "store": "store",
            "dispatch": [{"handler": "respond", "body": "here", "host": "a.example"}],
            "workers": 2,
        }
    )
    one.wait_for("npserver 1")
    told = one.wait_until(lambda: status(one)["certificates"], "the states of certificates")
    assert "a.example" in told[0]["names"] and told[0]["expires"]
    assert "days left" in one.command("status")[1]


def test_watched_until_the_server_ends(program: Start, free_port: Callable[[], int]) -> None:
    one = program(config=config(free_port(), free_port(), 2))
    one.wait_for("npserver 1")
    with subprocess.Popen(
        [sys.executable, "-m", "npserver", "status", "-watch", "-json", "-config", str(one.config_file)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as watching:  # fmt: skip
        assert watching.stdout is not None
        ages = [json.loads(watching.stdout.readline())["uptime_seconds"] for _ in range(2)]
        assert ages[0] + 0.9 <= ages[1]
        one.stop()
        _, said = watching.communicate(timeout=30)
        assert (watching.returncode == 1 and "no running server" in said) or "stopping" in said


def test_invalid_usage_and_no_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from npserver.cli import main

    assert main(["status", "-all"]) == 2
    assert main(["status", "-config"]) == 2
    assert main(["status", "-help"]) == 0
    assert main(["status", "-config", str(tmp_path / "none.json")]) == 1
    assert "no running server uses the config" in capsys.readouterr().err
