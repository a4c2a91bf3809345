"""`npserver explain`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from npserver.cli import main

CONFIG = {
    "listen": ["http://:8080"],
    "dispatch": [
        {"host": "nas.home", "handler": "redirect", "to": "https://nas.home/", "status": 301, "allow": "10.0.0.0/8"},
        {"match": {"method": "POST", "header": {"X-A": "b c"}}, "handler": "respond", "status": 202},
    ],
}


@pytest.fixture(autouse=True)
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    monkeypatch.chdir(tmp_path)


def test_it_says_what_happens_and_where_that_is_decided(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "http://nas.home/", "-from", "10.0.0.1"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("http://nas.home/ from 10.0.0.1\n")
    assert "(config.json:1:" in told
    assert told.endswith("  is answered with 301, https://nas.home/\n")


def test_options_come_in_any_order_and_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["explain", "--method=POST", "-header", "X-A: b c", "-json", "http://x/", "-config", "config.json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["gets"] == 202


@pytest.mark.parametrize("form", [[], ["-json"]])
def test_secrets_are_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str], form: list[str]) -> None:
    (tmp_path / "secret").write_text('from-a-"file')
    fields = {
        "X-Shown": "shown",
        "X-Upstream": "${file:secret}",
        "Authorization": "Basic literal",
        "X-Api-Key": "literal",
    }
    rule = {"handler": "proxy", "proxy_pass": "http://127.0.0.1:1", "headers": fields}
    answered = {"host": "b", "handler": "respond", "response_headers": {"X-Token": "literal", "X-B": "${file:secret}"}}
    (tmp_path / "config.json").write_text(json.dumps({"listen": ["http://:80"], "dispatch": [rule, answered]}))
    for host in ("a", "b"):
        assert main(["explain", f"http://{host}/", *form]) == 0
    told = capsys.readouterr().out
    assert "X-Shown: shown" in told
    assert "X-Api-Key: ..." in told
    assert "X-Token: ..." in told
    assert "${file:secret}" in told
    assert "literal" not in told
    assert "from-a-" not in told


def test_what_no_listener_takes_has_a_status_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "nas.home", "AAAA"]) == 1
    assert "no listener takes it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected a URL or a name"),
        (["http://x/", "-no"], "unknown option '-no'"),
        (["http://x/", "-from"], "-from needs a value"),
        (["http://x/", "-from", "y"], "from: expected an IP address"),
        (["http://x/", "-header", "y"], "-header: expected 'NAME: VALUE', got 'y'"),
        (["http://x/", "-config", "none.json"], "none.json"),
    ],
)
def test_wrong_usage_and_wrong_configs(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", *words]) == 2
    assert message in capsys.readouterr().err
