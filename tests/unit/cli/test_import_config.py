"""`npserver import`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from npserver.cli import main
from npserver.cli.import_config import USAGE


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "nginx.conf"
    file.write_text("server { listen 80; if ($x) { return 403; } return 200; }")
    return file


def test_it_prints_the_config_and_says_what_is_lost(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(config)]) == 0
    said = capsys.readouterr()
    assert '"handler": "respond"' in said.out
    assert said.err.startswith(f"warning: {config}:1: 'if $x")


def test_it_writes_a_new_file_only(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = config.parent / "npserver.json"
    assert main(["import", str(config), "-o", str(target)]) == 0
    assert main(["check", str(target)]) == 0
    assert main(["import", str(config), "-o", str(target)]) == 1
    assert "File exists" in capsys.readouterr().err


def test_its_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "-help"]) == 0
    assert main(["import"]) == 2
    said = capsys.readouterr()
    assert said.out == said.err == USAGE


def test_a_file_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(tmp_path / "x")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_missing_package(config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "crossplane", None)
    assert main(["import", str(config)]) == 2
    assert "needs the package crossplane" in capsys.readouterr().err
