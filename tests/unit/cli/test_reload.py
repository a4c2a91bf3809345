"""`npserver reload` where there is no server; `tests/e2e/test_process_reload.py` has one."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from npserver.cli import reload


def test_a_listener_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert reload.main(["http://:80"]) == 2
    assert "npserver reload: unexpected 'http://:80'" in capsys.readouterr().err


def test_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert reload.main(["-help"]) == 0
    assert capsys.readouterr().out == reload.HELP


def test_a_pidfile_names_the_process_to_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr("os.kill", lambda pid, number: sent.append((pid, number)))
    (tmp_path / "pid").write_text("4711\n")
    assert reload.main(["-pidfile", str(tmp_path / "pid")]) == 0
    assert sent == [(4711, signal.SIGHUP)]
    assert "log" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, "", "x"])
def test_a_pidfile_without_a_process_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    if content is not None:
        (tmp_path / "pid").write_text(content)
    assert reload.main(["-pidfile", str(tmp_path / "pid")]) == 1
    assert str(tmp_path / "pid") in capsys.readouterr().err
