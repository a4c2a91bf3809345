"""The examples of docs/explain.md say what the program says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from npserver.cli import main
from tests.stage.program import ROOT

PAGE = Path(__file__).parents[2] / "docs" / "explain.md"


def test_the_page_shows_what_the_program_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = PAGE.read_text()
    (config,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    (session,) = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    (tmp_path / "config.json").write_text(config)
    monkeypatch.chdir(tmp_path)
    for part in session.split("$ npserver ")[1:]:
        command, _, shown = part.partition("\n")
        assert main(shlex.split(command)) == 0
        assert capsys.readouterr().out == shown
    assert main(["check"]) == 0
    capsys.readouterr()
    (tmp_path / "config.json").write_text(config.replace('"allow": "lan",', '"gzip": false,'))
    assert main(["check"]) == 2
    (failure,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    assert failure in capsys.readouterr().err


def test_the_tests_for_pytest_pass_and_fail(tmp_path: Path) -> None:
    """Covers `testing.plugin`."""
    text = PAGE.read_text()
    (config,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    first, second = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["npserver.testing.plugin"]\n')
    (tmp_path / "test_dict.py").write_text(first)
    (tmp_path / "test_file.py").write_text(second)

    def run() -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    status, told = run()
    assert (status, "3 passed" in told) == (0, True), told
    (tmp_path / "config.json").write_text(config.replace('"allow": "lan",', '"gzip": false,'))
    (tmp_path / "test_dict.py").write_text(first.replace('"allow": "lan",', ""))
    status, told = run()
    assert (status, "2 failed, 1 passed" in told) == (1, True), told
    assert "is passed to http://10.0.0.5:8000" in told or "http://10.0.0.5:8000" in told
