"""Text of strangers in a log."""

from __future__ import annotations

import pytest

from npserver.observe.escape import decode, decode_latin1, escape_control, escape_quoted, replace_surrogates


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


#: Bytes of a client, as they are shown, and as JSON has them.
WIRE = [
    (b"plain", "plain", "plain"),
    ("Zürich 東京 🦊".encode(), "Zürich 東京 🦊", "Zürich 東京 🦊"),
    ("Zürich".encode("latin-1"), r"Z\xfcrich", "Zürich"),
    (b"\xc3\xbc cut \xe6\x9d", r"ü cut \xe6\x9d", "ü cut \xe6\x9d"),  # a character that is cut in two
    (b"\x9b31m", r"\x9b31m", "\x9b31m"),  # CSI of terminals, as a byte and as UTF-8
    (b"\xc2\x9b31m", r"\x9b31m", "\x9b31m"),
    (b"\xc2\x85\xe2\x80\xa8\r\n", r"\x85\u2028\x0d\x0a", "\x85\u2028\r\n"),
    ("a\u202egnp.exe\u2066".encode(), r"a\u202egnp.exe\u2066", "a\u202egnp.exe\u2066"),  # bidi overrides
    (b"\xc0\x8a", r"\xc0\x8a", "\xc0\x8a"),  # an overlong line feed
    (b"\xed\xa0\x80\xed\xb2\x80", r"\xed\xa0\x80\xed\xb2\x80", "\xed\xa0\x80\xed\xb2\x80"),  # surrogates
    (b"\xf4\x90\x80\x80", r"\xf4\x90\x80\x80", "\xf4\x90\x80\x80"),  # beyond U+10FFFF
]


@pytest.mark.parametrize(("wire", "shown", "in_json"), WIRE)
def test_utf8_is_readable_and_other_bytes_are_numbers(wire: bytes, shown: str, in_json: str) -> None:
    assert escape_control(decode(wire)) == escape_quoted(decode(wire)) == shown
    assert escape_control(decode_latin1(wire.decode("latin-1"))) == shown
    assert replace_surrogates(decode(wire)) == in_json


@pytest.mark.parametrize("first", range(256))
def test_no_two_bytes_control_anything(first: int) -> None:
    for second in range(256):
        assert escape_quoted(decode(bytes((first, second)))).isprintable()
