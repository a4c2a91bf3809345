"""The known words closest to a misspelt one."""

from __future__ import annotations

from npserver.guess import get_close_matches

KNOWN = ["listen", "listener", "limits", "logging"]


def test_the_closest_word_comes_first() -> None:
    assert get_close_matches("lisen", KNOWN)[0] == "listen"


def test_no_more_words_than_asked_for() -> None:
    assert get_close_matches("listene", KNOWN, 1) == ["listener"]


def test_nothing_is_close_to_another_word() -> None:
    assert get_close_matches("upstreams", KNOWN) == []
