"""HTTP dates (RFC 9110 §5.6.7)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from npserver.http.dates import format_date, parse_date, retry_after_s

TIME = 784111777
FIXDATE = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize("time_s", [TIME, TIME + 0.9])
def test_dates_are_written_as_imf_fixdate(time_s: float) -> None:
    assert format_date(time_s) == FIXDATE


@pytest.mark.parametrize("text", [FIXDATE, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"])
def test_all_three_forms_are_read(text: str) -> None:
    assert parse_date(text) == TIME


@pytest.mark.parametrize("time_s", [0, 951782400, 1709164800, 4102444799])
def test_dates_written_are_read_back(time_s: int) -> None:
    assert parse_date(format_date(time_s)) == time_s


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "yesterday",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 25:49:37 GMT",
        FIXDATE + " " * 100,
    ],
)
def test_malformed_dates_yield_none(text: str) -> None:
    assert parse_date(text) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120),
        (" 7 ", 7),
        ("Fri, 27 Nov 2026 12:01:00 GMT", 60),
        ("Fri, 27 Nov 2026 11:00:00 GMT", 0),
        ("-5", None),
        ("soon", None),
        ("9" * 5000, 999_999_999_999),
        ("Fri, 99 Foo 99999 99:99:99 GMT", None),
        ("", None),
    ],
)
def test_retry_after_is_read_in_both_its_forms(value: str | None, seconds: float | None) -> None:
    now = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()
    assert retry_after_s(value, now) == seconds
