"""Regular expressions that are compiled at their first use."""

from __future__ import annotations

import re

import pytest

from npserver.regex import regex


def test_it_behaves_as_a_compiled_pattern() -> None:
    pattern = regex(r"(\d+)-(\d+)")
    found = pattern.fullmatch("10-20")
    assert found is not None
    assert found.groups() == ("10", "20")
    assert pattern.findall("1-2 3-4") == [("1", "2"), ("3", "4")]
    assert pattern.pattern == r"(\d+)-(\d+)"


def test_flags_are_passed_on() -> None:
    assert regex("a", re.IGNORECASE).fullmatch("A")


def test_it_is_compiled_at_its_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    real = re.compile
    pattern = regex("a+")
    monkeypatch.setattr(re, "compile", lambda text, flags=0: compiled.append(text) or real(text, flags))
    assert compiled == []
    assert repr(pattern) == "<regex 'a+'>"
    assert pattern.search("baa")
    assert pattern.search("b") is None
    assert compiled == ["a+"], "a method is looked up once"


def test_an_invalid_pattern_raises_at_its_first_use() -> None:
    pattern = regex("(")
    with pytest.raises(re.error):
        pattern.search("x")
