"""Range fields (RFC 9110 §14)."""

from __future__ import annotations

import pytest

from npserver.http.ranges import ByteRange, multipart_heads, parse_ranges


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=0-499", [(0, 500)]),
        ("bytes=500-999", [(500, 500)]),
        ("bytes=-500", [(500, 500)]),
        ("bytes=9500-", []),
        ("bytes=999-", [(999, 1)]),
        ("bytes=0-", [(0, 1000)]),
        ("bytes=0-99999", [(0, 1000)]),
        ("bytes=-5000", [(0, 1000)]),
        ("bytes=-0", []),
        ("bytes=1000-", []),
        ("bytes=0-0,-1", [(0, 1), (999, 1)]),
        ("bytes= 0-0 , 2-3 ,", [(0, 1), (2, 2)]),
        ("bytes=5-9,0-3", [(5, 5), (0, 4)]),
        ("bytes=0-0,5000-6000", [(0, 1)]),
        ("BYTES=0-0", [(0, 1)]),
        ("bytes=00-0000000000000000000000007", [(0, 8)]),
        ("bytes=0-" + "9" * 5000, [(0, 1000)]),
        ("bytes=" + "9" * 5000 + "-", []),
    ],
)
def test_satisfiable_ranges(value: str, parts: list[tuple[int, int]]) -> None:
    assert parse_ranges(value.encode(), 1000, 16) == [ByteRange(*part) for part in parts]


@pytest.mark.parametrize(
    "value",
    ["", "bytes", "bytes=", "bytes=,", "bytes=-", "bytes=a-b", "bytes=5-4", "bytes=1", "bytes=0-1-2", "lines=0-1",
     "bytes=+0-1", "bytes=0x0-1", "bytes=1.0-2", "bytes=0-1;2-3", "bytes: 0-1", "bytes =0-1", "bytes=\xb2-5"],
)  # fmt: skip
def test_wrong_grammar_and_other_units_are_ignored(value: str) -> None:
    assert parse_ranges(value.encode("latin-1"), 1000, 16) is None


def test_more_ranges_than_the_limit_are_ignored() -> None:
    assert parse_ranges(b"bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(16)), 1000, 16) is not None
    assert parse_ranges(b"bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(17)), 1000, 16) is None
    assert parse_ranges(b"bytes=" + b"0-0," * 10_000, 1000, 16) is None
    assert parse_ranges(b"bytes=0-0", 1000, 0) is None


def test_ranges_of_more_bytes_than_the_file_are_ignored() -> None:
    assert parse_ranges(b"bytes=0-,0-", 1000, 16) is None
    assert parse_ranges(b"bytes=0-600,400-999", 1000, 16) is None
    assert parse_ranges(b"bytes=0-400,300-500", 1000, 16) is not None


def test_an_empty_file_has_no_ranges() -> None:
    assert parse_ranges(b"bytes=0-", 0, 16) == []
    assert parse_ranges(b"bytes=-5", 0, 16) is None


def test_several_parts_have_heads_and_a_tail() -> None:
    heads, tail = multipart_heads([ByteRange(0, 2), ByteRange(5, 1)], 10, b"text/plain", b"xyz")
    assert heads == [
        b"--xyz\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n",
        b"\r\n--xyz\r\nContent-Type: text/plain\r\nContent-Range: bytes 5-5/10\r\n\r\n",
    ]
    assert tail == b"\r\n--xyz--\r\n"
