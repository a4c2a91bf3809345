"""`npserver bans`, `ban` and `unban`: their arguments. What they do: tests/e2e/test_bans_program.py.

Covers `cli.ban` and `cli.unban`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from npserver.cli import main


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bans", "192.0.2.1"], "npserver bans: takes no address"),
        (["ban"], "npserver ban: expected one address"),
        (["unban", "192.0.2.1", "192.0.2.2"], "npserver unban: expected one address"),
        (["bans", "-all"], "unknown option '-all'"),
        (["bans", "-config"], "npserver bans: "),
    ],
)
def test_invalid_usage(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["bans", "ban", "unban"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "-help"]) == 0
    assert capsys.readouterr().out.startswith("usage: npserver bans")


def test_without_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["unban", "-config", str(tmp_path / "c.json"), "192.0.2.1"]) == 1
    assert "no running server uses the config" in capsys.readouterr().err
