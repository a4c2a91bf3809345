"""The key `control`: which places for a socket are refused, with what to do."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from npserver.config.control_place import check_control, place_fault, placed_control
from npserver.config.load import load_text
from npserver.config.report import Report
from npserver.errors import Severity


def test_a_relative_name_starts_at_the_directory_of_the_config(tmp_path: Path) -> None:
    document = load_text('{"control": "a.sock"}', str(tmp_path / "c.json"))
    assert placed_control(document) == str(tmp_path / "a.sock")
    assert placed_control(load_text("{}", str(tmp_path / "c.json"))) == ""


def test_places_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    told = {
        f"{tmp_path}/none/a.sock": "make the directory: install -d -m 700",
        f"{tmp_path}/file/a.sock": "not a directory",
        f"{tmp_path}/file": "is a file, not a socket",
        f"{tmp_path}/open/a.sock": "others can write to",
        f"{tmp_path}/{'a' * 108}": "longer than the 107 bytes",
    }
    for path, message in told.items():
        assert message in place_fault(path), path


def test_places_that_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place_fault(f"{tmp_path}/a.sock") == ""
    with socket.socket(socket.AF_UNIX) as left:
        monkeypatch.chdir(tmp_path)
        left.bind("left.sock")
    assert place_fault(f"{tmp_path}/left.sock") == ""  # of a server that was killed
    assert place_fault("/tmp/npserver-test.sock") == ""  # others cannot replace it: the directory is sticky


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_directory_of_another_user(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 12345, 12345)
    assert "belongs to user 12345" in place_fault(f"{tmp_path}/theirs/a.sock")


def test_check_reports_it_with_its_place(tmp_path: Path) -> None:
    report = Report(load_text('{\n "control": "none/a.sock"}', str(tmp_path / "c.json")))
    check_control(report)
    [problem] = report.problems
    assert (problem.line, problem.column, problem.severity) == (2, 13, Severity.CHECK_ERROR)
    report.raise_errors()
