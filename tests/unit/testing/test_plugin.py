"""`npserver.testing` and its plugin, for tests of users."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from npserver.config.load import load
from npserver.errors import ConfigError
from npserver.testing import Ask, ConfigLike, asking, explain, failed_tests
from npserver.testing.plugin import npserver_config

__all__ = ["npserver_config"]  # a fixture

CONFIG: dict[str, Any] = {
    "listen": [{"name": "web", "uri": "http://:8080"}],
    "dispatch": [
        {"match": {"method": "POST", "header": {"X-A": "b"}}, "handler": "respond", "status": 202, "name": "in"}
    ],
    "expect": [{"ask": "http://x:8080/", "gets": 404}, {"ask": "http://x:8080/", "gets": 200}],
}


@pytest.mark.parametrize("form", ["dict", "path", "text of the path", "document"])
def test_a_config_has_several_forms(tmp_path: Path, form: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(CONFIG))
    config = {"dict": CONFIG, "path": file, "text of the path": str(file), "document": load(str(file))}[form]
    found = explain(config, "http://x/", from_="10.0.0.1", method="POST", headers={"X-A": "b"}, listener="web")
    assert (found.gets, found.name, found.client) == (202, "in", "10.0.0.1")


def test_several_questions_are_asked_about_one_config() -> None:
    with asking(CONFIG) as ask:
        assert [ask(f"http://x:8080/{number}").gets for number in range(3)] == [404, 404, 404]


def test_tests_of_the_config_that_fail_are_lines() -> None:
    (line,) = failed_tests(CONFIG)
    assert line.startswith("config:")
    assert "expected the answer 200, but it is answered with 404" in line


def test_faults_are_raised() -> None:
    with pytest.raises(ConfigError):
        explain({"listen": ["no"]}, "http://x/")
    with pytest.raises(ValueError, match="ask: unknown scheme"):
        explain(CONFIG, "gopher://x/")


def test_the_fixture_compiles_a_file_once(
    tmp_path: Path, npserver_config: Callable[[ConfigLike], Ask], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    monkeypatch.chdir(tmp_path)
    ask = npserver_config("config.json")
    assert npserver_config(tmp_path / "config.json") is ask
    assert ask("http://x:8080/").gets == 404
    assert npserver_config(CONFIG)("http://x:8080/").gets == 404
