"""Sizes and times as people write them."""

from __future__ import annotations

import pytest

from npserver.config.units import MAX_SECONDS, MAX_SIZE, Seconds, Size, parse_percent, parse_seconds, parse_size


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (0, 0),
        (65536, 65536),
        ("64k", 65536),
        ("64 KiB", 65536),
        ("1.5m", 3 << 19),
        ("2G", 2 << 30),
        ("7b", 7),
        ("8", 8),
    ],
)
def test_sizes_are_read(value: object, size: int) -> None:
    result = parse_size(value)
    assert result == size
    assert type(result) is Size


@pytest.mark.parametrize("value", [-1, 1.5, True, None, "", "k", "-1k", "1x", "1e3", "٣k", [], "9" * 400])
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match='expected a size such as 65536 or "64k"'):
        parse_size(value)


@pytest.mark.parametrize("value", [MAX_SIZE + 1, 10**400, "2048t", "9" * 18 + "t"])
def test_sizes_out_of_range_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="size out of range, at most 1024t"):
        parse_size(value)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0),
        (10, 10),
        (0.25, 0.25),
        ("500ms", 0.5),
        ("10s", 10),
        ("5m", 300),
        ("1.5 h", 5400),
        ("7d", 604800),
        ("3", 3),
    ],
)
def test_times_are_read(value: object, seconds: float) -> None:
    result = parse_seconds(value)
    assert result == seconds
    assert type(result) is Seconds


@pytest.mark.parametrize(
    "value", [-1, -0.1, float("nan"), float("-inf"), True, None, "", "s", "-1s", "1 week", "1k", {}]
)
def test_what_is_no_time_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match='expected a time such as 10, "500ms" or "5m"'):
        parse_seconds(value)


@pytest.mark.parametrize("value", [MAX_SECONDS + 1, float("inf"), 10**400, "99999d"])
def test_times_out_of_range_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="time out of range, at most 3660d"):
        parse_seconds(value)


def test_shares() -> None:
    assert [parse_percent(text) for text in ("0%", "5%", " 12.5 % ", "100%")] == [0.0, 0.05, 0.125, 1.0]
    for wrong in ("", "5", "%", "-1%", "101%", "1e1%", "5%%", "½%"):
        with pytest.raises(ValueError, match='expected a share from "0%" to "100%", got'):
            parse_percent(wrong)
