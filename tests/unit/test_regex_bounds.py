"""Which regular expressions can take long. More of them in unit/web/matching/test_path_regex.py."""

from __future__ import annotations

import re

import pytest

from npserver.regex_bounds import MAX_PATTERN, compile_bounded, first


@pytest.mark.parametrize(
    ("text", "begins"), [("ok", "o"), ("(?:a|b)+c", "ab"), (r'"state":\s*"up"', '"'), ("\u00e9?x", "\u00e9x")]
)
def test_what_has_a_bound_is_taken(text: str, begins: str) -> None:
    compiled, items = compile_bounded(text, "[^,]+")
    assert compiled == re.compile(text)
    assert first(items) == frozenset(begins)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(a+)+$", "a repeat within a repeat"),
        ("(?:\u00e9|\u00e9)*x", "a repeat of what can be read in several ways"),
        ("(?:\u00e9|[^/])+/", "a repeat of what can be read in several ways"),
        (".+x.+y", r"write what they may hold, such as \[\^,\]\+ for \.\+"),
        ("(?i)ok", "flags are not supported"),
        (r"(a)\1", "groupref is not supported"),
        ("(", "is not a regular expression"),
        ("x" * (MAX_PATTERN + 1), "has more than 1024 characters"),
    ],
)
def test_what_can_take_long_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compile_bounded(text, "[^,]+")
