"""Standard streams that are closed: at the start (`>&-`), or later, when a terminal or the reader of a pipe goes.

It serves as ever, and writes to no descriptor that is something else. Covers `cli.standard_streams`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stage.asking import get
from tests.stage.program import ROOT
from tests.stage.waiting import wait_until

DEADLINE_S = 30.0


def start(closed: str, *words: str, cwd: Path) -> subprocess.Popen[bytes]:
    """Start npserver from a shell that closes streams."""
    command = ["/bin/sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, "-m", "npserver", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def answers(port: int) -> int:
    """Return the status of an answer, once there is one."""

    def status() -> int:
        try:
            return get(port, "/index.html")[0]
        except OSError:
            return 0

    return wait_until(status, "answer", DEADLINE_S)


@pytest.mark.parametrize("workers", [2, 0])
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full"])
def test_it_serves(closed: str, workers: int, free_port: Callable[[], int], public: Path, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "c.json").write_text(
        f'{{"listen": ["http://127.0.0.1:{port}"], "workers": {workers}, "root": "{public}"}}'
    )
    process = start(closed, "-config", "c.json", cwd=tmp_path)
    try:
        for _ in range(20):
            assert answers(port) == 200
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert b"Traceback" not in errors


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_commands_end_with_their_own_status(closed: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"lisen": []}')
    (tmp_path / "good.json").write_text('{"listen": ["http://127.0.0.1:8080"]}')
    for words, status in ((["check", "bad.json"], 2), (["check", "good.json"], 0), (["-version"], 0)):
        process = start(closed, *words, cwd=tmp_path)
        _, errors = process.communicate(timeout=DEADLINE_S)
        assert (process.returncode, b"Traceback" in errors) == (status, False)


def children(pid: int) -> set[int]:
    """Return the process ids of controller and workers."""
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def test_a_worker_is_replaced_when_nobody_reads_the_log(free_port: Callable[[], int], public: Path) -> None:
    """As after `npserver ... 2>&1 | logger`, when the logger has ended."""
    port = free_port()
    with start("", f"http://127.0.0.1:{port}", "-root", str(public), "-workers", "2", cwd=public) as process:
        assert process.stderr is not None
        try:
            assert answers(port) == 200
            process.stderr.close()
            before = children(process.pid)
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            wait_until(
                lambda: len(children(process.pid) - before) == len(before),
                "new processes",
                DEADLINE_S,
                process=process.pid,
            )
            assert answers(port) == 200
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(DEADLINE_S)
        assert process.returncode == 0


@pytest.mark.parametrize("words", [["schema"], ["-version"], ["check", "bad.json"]], ids=" ".join)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_command_whose_output_nobody_reads_ends_quietly(words: list[str], stream: str, tmp_path: Path) -> None:
    """As by `npserver schema | head -1`."""
    (tmp_path / "bad.json").write_text('{"lisen": []}')
    reading, writing = os.pipe()
    os.close(reading)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writing}
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-m", "npserver", *words], cwd=tmp_path, env=environment, timeout=DEADLINE_S, check=False,
        **pipes,
    )  # fmt: skip
    os.close(writing)
    is_lost = (words[0] == "check") == (stream == "stderr")
    assert done.returncode == (1 if is_lost else 2 if words[0] == "check" else 0)
    if stream == "stdout" and words[0] != "check":
        assert done.stderr == b""


def test_output_to_a_full_disk_is_an_error(tmp_path: Path) -> None:
    process = start(">/dev/full", "-version", cwd=tmp_path)
    _, errors = process.communicate(timeout=DEADLINE_S)
    message = b"npserver: cannot write to standard output: No space left on device\n"
    assert (process.returncode, errors) == (1, message)
