"""Suggestions for misspelt words."""

from __future__ import annotations

from npserver.guess import get_close_matches

KNOWN = ["listen", "listener", "limits", "logging"]


def test_the_closest_word_comes_first() -> None:
    assert get_close_matches("lisen", KNOWN)[0] == "listen"


def test_no_more_words_than_asked_for() -> None:
    assert get_close_matches("listene", KNOWN, 1) == ["listener"]


def test_an_unrelated_word_has_no_matches() -> None:
    assert get_close_matches("upstreams", KNOWN) == []
