"""The build machine has every program that tests run."""

from __future__ import annotations

import re
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


def test_tests_ask_for_programs_in_one_way() -> None:
    """Only `tests/stage/programs.py` looks for them; the launcher's test looks for the tools of every system."""
    looking = {
        path.relative_to(ROOT / "tests").as_posix()
        for path in (ROOT / "tests").rglob("*.py")
        if "shutil.which(" in path.read_text() and path != Path(__file__)
    }
    assert looking == {"stage/programs.py", "e2e/test_launcher.py"}
