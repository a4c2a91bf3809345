"""`deploy/fail2ban` and `deploy/goaccess` with the real programs, on the log of a server with hostile clients."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stage.ports import free_port
from tests.stage.program import ROOT, Program
from tests.stage.programs import find, needs
from tests.stage.waiting import wait_until

DEPLOY = ROOT / "deploy"
FORGED = 'x" 200 1 "-" "-" 198.51.100.1 - - [01/Jan/2026:00:00:00 +0000] "GET / HTTP/1.1" 401 1 "'


@pytest.fixture
def log(program: Callable[..., Program], tmp_path: Path) -> Path:
    """The lines of 127.0.0.2 to 127.0.0.5: refused, unknown, served, and served to a client that forges lines."""
    return logged(program, tmp_path, "combined")


def logged(program: Callable[..., Program], tmp_path: Path, form: str) -> Path:
    """Return the file with these lines."""
    port, file = free_port(), tmp_path / "access.log"
    running = program(
        config={
            "listen": [f"http://127.0.0.1:{port}"],
            "logging": {"access_log": [{"to": str(file), "format": form}]},
            "dispatch": [
                {"handler": "respond", "body": "x", "path": "/open"},
                {"handler": "respond", "body": "x", "path": "/secret", "deny": "127.0.0.2"},
            ],
        }
    )
    for number, path in ((2, "secret"), (3, "none"), (4, "secret"), (5, "open")):
        for _ in range(3):
            words = ["curl", "-s", "--interface", f"127.0.0.{number}", "-A", FORGED, "-e", '" 401 "']
            quoted = f"http://127.0.0.1:{port}/{path}?%22%20401%20"
            subprocess.run([*words, quoted], check=True, capture_output=True, timeout=30)
    wait_until(lambda: file.exists() and file.read_text().count("\n") >= 12, "the lines", 30, running.errors)
    return file


@needs("fail2ban-regex", "curl")
def test_fail2ban_finds_who_was_refused(log: Path) -> None:
    words = [
        str(find("fail2ban-regex")),
        "-o",
        "<ip>",
        str(log),
        str(DEPLOY / "fail2ban" / "filter.d" / "npserver.conf"),
    ]
    found = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    assert re.findall(r"\d+\.\d+\.\d+\.\d+", found) == ["127.0.0.2"] * 3


@needs("fail2ban-client")
def test_fail2ban_takes_the_jail(tmp_path: Path) -> None:
    etc = tmp_path / "fail2ban"
    shutil.copytree("/etc/fail2ban", etc)
    for part in ("filter.d", "jail.d"):
        shutil.copy(DEPLOY / "fail2ban" / part / "npserver.conf", etc / part)
    (etc / "jail.d" / "defaults-debian.conf").unlink(missing_ok=True)  # its jail of sshd reads a log of the machine
    (tmp_path / "access.log").touch()
    jail = etc / "jail.d" / "npserver.conf"
    jail.write_text(jail.read_text().replace("/var/log/npserver/access.log", str(tmp_path / "access.log")))
    words = [str(find("fail2ban-client")), "-c", str(etc), "-d"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "['add', 'npserver'" in done.stdout
    assert "['set', 'npserver', 'maxretry', 10]" in done.stdout
    assert "401|403|429" in done.stdout


@needs("goaccess", "curl")
def test_goaccess_reads_every_line(log: Path, tmp_path: Path) -> None:
    found = reported(log, "npserver.conf", tmp_path)
    assert found["general"]["total_requests"] == 12
    assert found["general"]["failed_requests"] == 0
    assert {one["data"] for one in found["hosts"]["data"]} == {f"127.0.0.{number}" for number in (2, 3, 4, 5)}
    counts = {item["data"][:3]: item["hits"]["count"] for one in found["status_codes"]["data"] for item in one["items"]}
    assert counts == {"200": 6, "403": 3, "404": 3}


@needs("goaccess", "curl")
def test_goaccess_reads_hosts_and_times(program: Callable[..., Program], tmp_path: Path) -> None:
    """From a log with the text of docs/access-logs.md, which is that of the file for GoAccess."""
    configuration = "npserver-times.conf"
    form = (DEPLOY / "goaccess" / configuration).read_text().splitlines()[1].removeprefix("# ")
    assert json.dumps(form) in (ROOT / "docs" / "access-logs.md").read_text()
    found = reported(logged(program, tmp_path, form), configuration, tmp_path)
    assert found["general"]["total_requests"] == 12
    assert found["general"]["failed_requests"] == 0
    assert {one["data"] for one in found["hosts"]["data"]} == {f"127.0.0.{number}" for number in (2, 3, 4, 5)}
    assert [(one["data"], one["hits"]["count"]) for one in found["vhosts"]["data"]] == [("127.0.0.1", 12)]
    assert "cumts" in found["vhosts"]["data"][0]  # the sum of times


def reported(log: Path, configuration: str, tmp_path: Path) -> Any:
    """Return what GoAccess finds in a log."""
    report = tmp_path / "report.json"
    words = ["goaccess", str(log), "-p", str(DEPLOY / "goaccess" / configuration), "-o", str(report)]
    subprocess.run([*words, "--no-global-config"], check=True, capture_output=True, timeout=60)
    return json.loads(report.read_text())
