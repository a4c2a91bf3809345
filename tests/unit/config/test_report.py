"""Collecting what is wrong with a config."""

from __future__ import annotations

import pytest

from npserver.config.load import load_text
from npserver.config.report import Report, placed
from npserver.errors import ConfigError, Severity


def report() -> Report:
    return Report(load_text('{\n"root": "www",\n"backlog": 5\n}', "a.json"))


def test_warnings_alone_raise_nothing() -> None:
    found = report()
    found.warn(("root",), "odd")
    found.check_error(("backlog",), "expired")
    found.raise_errors()
    assert [problem.severity for problem in found.warnings] == [Severity.WARNING, Severity.CHECK_ERROR]


def test_an_error_raises_all_problems_in_the_files_order() -> None:
    found = report()
    found.error(("backlog",), "wrong")
    found.warn(("root",), "odd")
    with pytest.raises(ConfigError) as caught:
        found.raise_errors()
    assert str(caught.value) == "a.json:2:9: warning: odd\na.json:3:12: wrong"


def test_the_texts_of_a_key_have_their_own_paths() -> None:
    assert placed(("root",), "a") == [(("root",), "a")]
    assert placed(("root",), ["a", "b"]) == [(("root", 0), "a"), (("root", 1), "b")]
    assert placed(("root",), []) == []
