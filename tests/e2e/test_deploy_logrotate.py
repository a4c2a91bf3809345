"""`deploy/logrotate` with the real logrotate, while requests come; and `deploy/sysctl`."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from npserver.config.schema import Config
from npserver.listen.datagrams import RECEIVE_BUFFER
from tests.stage.program import ROOT
from tests.stage.programs import find, needs
from tests.stage.waiting import wait_until

NOBODY = 65534
INTERPRETER = Path(sys.executable).resolve()
ROTATIONS = 3


@needs("logrotate")
@pytest.mark.skipif(
    os.geteuid() != 0 or not all(one.stat().st_mode & 0o001 for one in (ROOT, *ROOT.parents, *INTERPRETER.parents)),
    reason="needs root, and a checkout and a Python below directories that every user may enter",
)
@pytest.mark.parametrize("workers", [0, 2])
def test_no_line_is_lost(free_port: Callable[[], int], socket_dir: Path, workers: int) -> None:
    """Root runs logrotate, as cron does; the server is another user's, as in the unit, and the directory is its own."""
    port = free_port()
    socket_dir.chmod(0o755)
    logs = socket_dir / "log"
    logs.mkdir(mode=0o750)
    os.chown(logs, NOBODY, NOBODY)
    config = {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": workers,
        "logging": {"access_log": str(logs / "access.log")},
        "dispatch": [{"handler": "respond", "body": "x"}],
    }
    (socket_dir / "a.json").write_text(json.dumps(config))
    rules = (ROOT / "deploy" / "logrotate" / "npserver").read_text()
    (socket_dir / "rules").write_text(
        rules.replace("/var/log/npserver/", f"{logs}/").replace("su npserver npserver", "su nobody nogroup")
    )
    (socket_dir / "rules").chmod(0o644)
    systemctl = socket_dir / "systemctl"  # systemd does not run here: the main process is what it would tell
    process = subprocess.Popen(
        [sys.executable, "-m", "npserver", "-config", str(socket_dir / "a.json")], user=NOBODY, group=NOBODY,
        extra_groups=[], cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    systemctl.write_text(
        f'#!/bin/sh\n[ "$*" = "show --property=MainPID --value npserver.service" ] && echo {process.pid}\n'
    )
    systemctl.chmod(0o755)
    asked = 0
    try:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("npserver 1")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            for _ in range(ROTATIONS):
                wait_until(lambda: read(logs / "access.log") or client.get("/") is None, "the first line")
                rotating = subprocess.Popen(
                    [str(find("logrotate")), "-f", "-s", str(socket_dir / "state"), str(socket_dir / "rules")],
                    env={**os.environ, "PATH": f"{socket_dir}:{os.environ['PATH']}"}, stderr=subprocess.PIPE, text=True,
                )  # fmt: skip
                is_over = False
                while not is_over:
                    is_over = rotating.poll() is not None
                    client.get(f"/number-{asked}-")
                    asked += 1
                assert rotating.communicate(timeout=30) == (None, "")
                assert rotating.returncode == 0
        names = {"access.log", "access.log.1", *(f"access.log.{n}.gz" for n in range(2, ROTATIONS + 1))}
        wait_until(lambda: sum(numbers(logs).values()) == asked, "all lines", story=lambda: str(os.listdir(logs)))
        assert set(os.listdir(logs)) == names
        assert set(numbers(logs).values()) == {1}, "each once"
        assert {path.stat().st_uid for path in logs.iterdir()} == {NOBODY}
    finally:
        process.terminate()
        process.communicate(timeout=30)


def read(path: Path) -> str:
    """Return the lines of a log; none if there is no such file yet."""
    try:
        return gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    except FileNotFoundError:
        return ""


def numbers(logs: Path) -> Counter[str]:
    """Return how often each request is in the logs."""
    return Counter(re.findall(r"/number-(\d+)-", "".join(map(read, logs.iterdir()))))


SETTINGS = (ROOT / "deploy" / "sysctl" / "90-npserver.conf").read_text()


def test_settings_of_the_kernel_exist_and_have_a_reason() -> None:
    paragraphs = SETTINGS.strip().split("\n\n")[1:]
    for paragraph in paragraphs:
        *reason, setting = paragraph.splitlines()
        assert reason
        assert all(line.startswith("# ") for line in reason), paragraph
        name, _, value = setting.partition(" = ")
        assert Path("/proc/sys", *name.split(".")).exists() or not Path("/proc/sys/net/core").exists(), name
        assert re.fullmatch(r"\d+( \d+)?", value)


def test_settings_are_at_least_what_npserver_asks_for() -> None:
    values = dict(re.findall(r"^([\w.]+) = (\d+)", SETTINGS, re.MULTILINE))
    assert int(values["net.core.somaxconn"]) >= Config().backlog
    assert int(values["net.core.rmem_max"]) >= RECEIVE_BUFFER
    assert f"`backlog` of the config ({Config().backlog})" in SETTINGS
    assert f"asks for {RECEIVE_BUFFER >> 20} MiB" in SETTINGS
