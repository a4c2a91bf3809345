"""Values with stars."""

from __future__ import annotations

import pytest

from npserver.web.matching.values import make_glob, make_wanted


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("1", "1", True), ("1", "11", False), ("2*", "2", True), ("2*", "25", True), ("2*", "12", False),
        ("*", "", True), ("a*a", "a", False), ("a*a", "aa", True), ("*b*c", "abbc", True), ("*b*c", "acb", False),
        ("a*b*c", "abc", True), ("a*b*c", "ac", False), ("a**b", "ab", True), ("", "", True), ("A", "a", False),
    ],
)  # fmt: skip
def test_a_star_is_any_characters(text: str, value: str, expected: bool) -> None:
    assert make_glob(text).has(value) is expected


def test_presence_and_any_of_several_values() -> None:
    assert make_wanted("x", True).holds([""])
    assert not make_wanted("x", True).holds(None)
    assert make_wanted("x", False).holds(None)
    assert not make_wanted("x", False).holds(["1"])
    assert make_wanted("x", ["1", "2*"]).holds(["0", "29"])
    assert not make_wanted("x", "1").holds(["1, 0"])


@pytest.mark.parametrize(
    ("mine", "theirs", "follows"),
    [
        (True, True, True), (True, "1", True), ("1", True, False), ("*", "1", True), ("*", "a*", True),
        ("a*", "ab*", False), (["1", "2"], "2", True), ("2", ["1", "2"], False), (False, False, True),
        (False, "1", False), (True, False, False),
    ],
)  # fmt: skip
def test_one_follows_from_another(mine: bool | str | list[str], theirs: bool | str | list[str], follows: bool) -> None:
    assert make_wanted("x", mine).follows_from(make_wanted("x", theirs)) is follows
