"""Text of strangers in a log."""

from __future__ import annotations

import pytest

from npserver.observe.escape import escape_control, escape_quoted


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("", ""),
        ("plain ü €", "plain ü €"),
        ("a\r\nb\0", r"a\x0d\x0ab\x00"),
        ("\x1b[31m\x7f\x9b", r"\x1b[31m\x7f\x9b"),
        ("\u202e\u2028", r"\u202e\u2028"),
        ("\U000e0001", r"\U000e0001"),
        ('"\\', '"\\'),
    ],
)
def test_control_characters_are_written_as_numbers(text: str, escaped: str) -> None:
    assert escape_control(text) == escaped


@pytest.mark.parametrize(
    ("text", "escaped"), [('a "b"', r"a \"b\""), ("a\\", r"a\\"), ('"\n', r"\"\x0a"), ("plain", "plain")]
)
def test_quotes_are_escaped_within_quotes(text: str, escaped: str) -> None:
    assert escape_quoted(text) == escaped
