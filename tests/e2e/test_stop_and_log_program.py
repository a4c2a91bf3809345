"""`npserver stop` and `npserver log` of the real program.

Covers `cli.running.answered`, `cli.running.log` and `cli.running.stop`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from npserver.cli import main
from tests.stage.asking import get, refuses
from tests.stage.program import Program

Start = Callable[..., Program]
WORKERS = pytest.mark.parametrize("workers", [0, 2])


def config(port: int, workers: int, **extra: Any) -> dict[str, Any]:
    return {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": workers,
        "dispatch": [{"handler": "respond", "path": "/a", "body": "here"}],
        **extra,
    }


@WORKERS
def test_stop_waits_for_the_end(program: Start, free_port: Callable[[], int], workers: int) -> None:
    one = program(config=config(port := free_port(), workers))
    one.wait_for("npserver 1")
    assert get(port, "/a") == (200, b"here")
    assert one.command("stop") == (0, "stopped\n")
    assert one.wait_exit() == 0
    assert refuses(port)
    one.wait_for(r"told to stop \(npserver stop\)")
    status, said = one.command("stop")
    assert status == 1 and "no running server uses the config" in said


def test_a_second_stop_does_not_hurry_the_first(program: Start, free_port: Callable[[], int]) -> None:
    one = program(config=config(port := free_port(), 2, timeouts={"shutdown": 2}))
    one.wait_for("npserver 1")
    with socket.create_connection(("127.0.0.1", port)) as busy:
        busy.sendall(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n1")
        with one.begin_command("stop") as first:
            one.wait_for("shutting down: waiting up to 2 s")
            assert one.command("stop")[0] == 0
            assert first.wait(30) == 0
    assert one.wait_exit() == 0
    assert "second signal" not in one.errors


@WORKERS
def test_level_in_all_processes_until_the_next_reload(
    program: Start, free_port: Callable[[], int], workers: int
) -> None:
    one = program(config=config(port := free_port(), workers))
    one.wait_for("npserver 1")

    def told() -> bool:
        """Whether all of some refused requests are logged at level debug."""
        one.forget_errors()
        assert all(get(port, "/none")[0] == 404 for _ in range(8))
        return one.new_errors.count("404") >= 8

    assert not told()
    assert one.command("log", "http", "debug") == (0, "http: debug until the next reload\n")
    one.wait_until(told, "lines at level debug")
    assert one.command("reload")[0] == 0
    assert not told()
    one.configure(config(port, workers, logging={"http": "debug"}))
    assert one.command("reload")[0] == 0
    one.wait_until(told, "lines at the level of the new config")
    status, said = one.command("log", "http", "loud")
    assert status == 1 and "expected a level" in said
    status, said = one.command("log", "cooking", "debug")
    assert status == 1 and "expected an area" in said


@pytest.mark.parametrize(
    "words", [["log"], ["log", "http"], ["log", "-x", "a", "b"], ["stop", "now"], ["stop", "-config"]]
)
def test_invalid_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert f"npserver {words[0]}: " in capsys.readouterr().err


def test_without_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log", "-config", str(tmp_path / "c.json"), "http", "debug"]) == 1
    assert "no running server uses the config" in capsys.readouterr().err
