"""The build machine has every program that tests run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stage import programs

ROOT = Path(__file__).parents[2]


def test_ci_installs_every_program_that_tests_run() -> None:
    (listed,) = re.findall(r"^packages=\(\n(.*?)^\)", (ROOT / ".ci" / "run").read_text(), re.MULTILINE | re.DOTALL)
    assert set(programs.PACKAGES.values()) - set(listed.split()) == set()


def test_a_skip_names_what_is_absent_and_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "find", lambda program: None if program in ("nghttp", "h2load") else "/usr/bin/x")
    mark = programs.needs("curl", "nghttp", "h2load").mark
    assert mark.args == (True,)
    assert mark.kwargs == {"reason": "needs nghttp, h2load (apt-get install nghttp2-client)"}
    assert programs.needs("curl").mark.args == (False,)


@pytest.fixture
def on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str], str]:
    """Return `on_path(name, script)`: write a shell script into the one directory of PATH, and return its path."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")

    def write(name: str, script: str) -> str:
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
        return str(tmp_path / name)

    return write


def test_a_browser_that_only_says_to_install_a_snap_is_none(on_path: Callable[[str, str], str]) -> None:
    """Ubuntu's `chromium-browser` without the snap."""
    stub = "echo \"Command '$0' requires the chromium snap to be installed.\" >&2; exit 1"
    on_path("chromium", stub)
    on_path("chromium-browser", stub)
    chrome = on_path("google-chrome", "echo Google Chrome 156.0.8078.47")
    assert programs.find("chromium") == chrome


@pytest.mark.parametrize(
    ("helps", "options"),
    [
        (
            "OpenBSD netcat (Debian patchlevel 1.219-1)\n    -N    Shutdown the network socket after EOF on stdin",
            ["-N"],
        ),
        ("[v1.10-47]\n    -q secs    quit after EOF on stdin and delay of secs", ["-q", "10"]),
        ("Ncat 7.99 ( https://nmap.org/ncat )\n  -q <time>    After EOF on stdin, wait <time> then quit.", []),
        ("BusyBox v1.38.0 multi-call binary.\n\nUsage: nc [-iN] [-wN] [-l] [-p PORT] [IPADDR PORT]", []),
    ],
    ids=["OpenBSD", "traditional", "Ncat", "BusyBox"],
)
def test_each_netcat_is_told_in_its_own_way_to_end_its_side(
    on_path: Callable[[str, str], str], helps: str, options: list[str]
) -> None:
    netcat = on_path("nc", f"cat >&2 <<'END'\n{helps}\nEND\nexit 1")
    assert programs.half_closing(netcat) == [netcat, *options]


def test_tests_ask_for_programs_in_one_way() -> None:
    """Only `tests/stage/programs.py` looks for them; the launcher's test looks for the tools of every system."""
    looking = {
        path.relative_to(ROOT / "tests").as_posix()
        for path in (ROOT / "tests").rglob("*.py")
        if "shutil.which(" in path.read_text() and path != Path(__file__)
    }
    assert looking == {"stage/programs.py", "e2e/test_launcher.py"}
