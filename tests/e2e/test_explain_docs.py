"""The examples of docs/explain.md say what the program says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from npserver.cli import main

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
