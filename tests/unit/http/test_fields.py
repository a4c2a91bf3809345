"""Field lines: syntax, joined values, and the significant fields."""

from __future__ import annotations

import pytest

from npserver.errors import BadRequest
from npserver.http.fields import join_fields, parse_field, select_significant


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (b"Host: a", (b"host", b"a")),
        (b"X-Thing:\t b c \t", (b"x-thing", b"b c")),
        (b"x:", (b"x", b"")),
        (b"x::y", (b"x", b":y")),
        (b"x: \xe9\xff", (b"x", b"\xe9\xff")),
    ],
)
def test_rfc_9112_5_1_field_lines(line: bytes, field: tuple[bytes, bytes]) -> None:
    assert parse_field(line) == field


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("octet", [*range(9), *range(10, 32), 127])
def test_rfc_9110_5_5_control_characters_are_refused(octet: int, use_cache: bool) -> None:
    """Anywhere in a line, in significant and other fields, at the first look-up and from the cache."""
    control = bytes((octet,))
    for line in (b"Cookie: a" + control + b"b", b"Host: a" + control, b"X" + control + b": b", control + b"X: b"):
        for _ in range(2):
            with pytest.raises(BadRequest):
                select_significant([line], use_cache=use_cache)
        with pytest.raises(BadRequest):
            parse_field(line)


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize(
    "line", [b"", b":", b": x", b"X", b"X : b", b" X: b", b"X Y: b", b"X(: b", b"\xe9: b", b"y" * 80]
)
def test_rfc_9112_5_malformed_lines_are_refused(line: bytes, use_cache: bool) -> None:
    for _ in range(2):
        with pytest.raises(BadRequest):
            select_significant([line], use_cache=use_cache)


@pytest.mark.parametrize("use_cache", [True, False])
def test_significant_lines_are_selected(use_cache: bool) -> None:
    """In the order and spelling sent, repeated fields included."""
    lines = [
        b"HOST: a", b"Cookie: b", b"accept-encoding: gzip", b"User-Agent: Host: x", b"X-Forwarded-For: 1",
        b"x_real-ip: 2", b"Via: 1.1 a", b"Range: bytes=0-", b"X-Mine: 3", b"Via: 1.1 b", b"Content-Type: text/plain",
    ]  # fmt: skip
    insignificant = {b"Cookie: b", b"User-Agent: Host: x", b"X-Mine: 3"}
    for _ in range(2):
        assert select_significant(lines, use_cache=use_cache) == tuple(
            line for line in lines if line not in insignificant
        )


def test_long_names() -> None:
    assert select_significant([b"x" * 100 + b": y"]) == ()
    assert parse_field(b"X" * 100 + b": y") == (b"x" * 100, b"y")


def test_rfc_9110_5_3_repeated_fields_are_joined() -> None:
    assert join_fields([b"A: 1", b"Cookie: x=1", b"a: 2", b"cookie: y=2"]) == {b"a": b"1, 2", b"cookie": b"x=1; y=2"}


@pytest.mark.parametrize("name", [b"Host", b"Content-Length", b"Content-Type", b"Authorization", b"Expect"])
def test_rfc_9110_5_5_singleton_fields_are_not_repeated(name: bytes) -> None:
    with pytest.raises(BadRequest, match="two"):
        join_fields([name + b": 1", name.lower() + b": 1"])
