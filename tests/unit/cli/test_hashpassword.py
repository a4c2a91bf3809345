"""`npserver hashpassword`: password hashes for the config."""

from __future__ import annotations

import io

import pytest

from npserver.cli import hashpassword
from npserver.web.middleware.basic_auth.passwords import verify_password


class TestHashPassword:
    """The hash printed is what `basic_auth` takes."""

    def test_a_password_comes_from_a_pipe(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("pass word\nmore\n"))
        assert hashpassword.main([]) == 0
        text = capsys.readouterr().out.strip()
        assert verify_password("pass word", text)
        assert not verify_password("pass word\n", text)

    def test_two_hashes_differ(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        for _ in range(2):
            monkeypatch.setattr("sys.stdin", io.StringIO("same\n"))
            hashpassword.main([])
        one, other = capsys.readouterr().out.split()
        assert one != other

    def test_a_password_is_asked_for_on_a_terminal(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        answers = iter(["one", "two", "same", "same"])
        monkeypatch.setattr("getpass.getpass", lambda prompt: next(answers))
        assert hashpassword.main([]) == 1
        assert "the two passwords differ" in capsys.readouterr().err
        assert hashpassword.main([]) == 0
        assert verify_password("same", capsys.readouterr().out.strip())

    def test_an_empty_password_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
        assert hashpassword.main([]) == 1
        assert capsys.readouterr().out == ""

    def test_not_on_the_command_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert hashpassword.main(["secret"]) == 2
        assert "other users could read" in capsys.readouterr().err
