"""Signals that come twice in an instant, and those of a closed terminal.

Covers `process.signals`.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stage.asking import Asking, SlowUpstream, get, refuses
from tests.stage.program import ROOT, Program
from tests.stage.programs import needs_terminals

Start = Callable[..., Program]
WORKERS = pytest.mark.parametrize("workers", [0, 2])


@WORKERS
def test_signals_in_the_same_instant_are_one(
    program: Start, slow: SlowUpstream, free_port: Callable[[], int], workers: int
) -> None:
    """`timeout` and wrappers that pass signals on send two; so does a process group."""
    port = free_port()
    rule = {"handler": "proxy", "proxy_pass": f"http://127.0.0.1:{slow.port}"}
    one = program(config={"listen": [f"http://127.0.0.1:{port}"], "workers": workers, "dispatch": [rule]})
    asking = Asking(port, "/slow")
    slow.take_request()
    one.send_signal(signal.SIGTERM)
    one.send_signal(signal.SIGINT)
    one.wait_for("shutting down")
    one.send_signal(signal.SIGTERM)
    one.wait_until(lambda: refuses(port), "refusal of new connections")
    slow.answer(b"worth waiting for")
    assert asking.finish() == (200, b"worth waiting for")
    assert one.wait_exit() == 0


@needs_terminals
@WORKERS
@pytest.mark.parametrize("has_config", [False, True])
@pytest.mark.parametrize("is_nohup", [False, True])
def test_a_closed_terminal_stops_it_except_under_nohup(
    tmp_path: Path, free_port: Callable[[], int], workers: int, has_config: bool, is_nohup: bool
) -> None:
    port = free_port()
    (tmp_path / "config.json").write_text(json.dumps({"listen": [f"http://127.0.0.1:{port}"], "workers": workers}))
    arguments = ["-config", "config.json"] if has_config else [f"http://127.0.0.1:{port}", "-workers", str(workers)]
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGHUP, signal.SIG_IGN if is_nohup else signal.SIG_DFL)

    with subprocess.Popen(
        [sys.executable, "-m", "npserver", *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=take_terminal, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        while b"welcome page" not in shown:
            shown += os.read(ours, 4096)
        os.close(ours)
        try:
            if is_nohup:
                assert get(port)[0] == 200
                process.terminate()
            assert process.wait(30) == 0
            assert refuses(port)
        finally:
            process.kill()
