"""The rule of a listener that no rule of the config is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from npserver.web.handlers.respond.config import RespondRule
from npserver.web.handlers.static.config import StaticRule
from tests.stage.assigned import Assigned


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class TestWithoutRules:
    """Listeners that no rule is for."""

    @staticmethod
    def only_rule(text: str) -> object:
        assigned = Assigned(text)
        assert assigned.problems == []
        ((_, rule),) = assigned.rules["http://:80"]
        return rule

    def test_without_files_there_is_a_welcome_page(self) -> None:
        rule = self.only_rule('{"listen": ["http://:80"]}')
        assert isinstance(rule, RespondRule)
        assert "npserver is running" in rule.body
        assert "$" not in rule.body

    def test_public_comes_before_html(self, tmp_path: Path) -> None:
        (tmp_path / "html").mkdir()
        assert self.only_rule('{"listen": ["http://:80"]}') == StaticRule(root="./html")
        (tmp_path / "public").mkdir()
        assert self.only_rule('{"listen": ["http://:80"]}') == StaticRule(root="./public")

    def test_the_root_of_the_config_comes_before_all(self, tmp_path: Path) -> None:
        (tmp_path / "public").mkdir()
        (tmp_path / "site").mkdir()
        assert self.only_rule('{"listen": ["http://:80"], "root": "site"}') == StaticRule(root="site")

    def test_a_root_that_is_not_there_is_named(self) -> None:
        assert Assigned('{"listen": ["http://:80"], "root": "sit"}').problems == [
            "c.json:1:36: 'root': no directory 'sit'"
        ]
