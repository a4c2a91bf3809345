"""HTTP dates (RFC 9110 §5.6.7): written as IMF-fixdate, read in IMF-fixdate and both obsolete formats."""

from __future__ import annotations

from datetime import UTC, datetime

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FORMS = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")
_LONGEST = len("Wednesday, 01-Jan-25 00:00:00 GMT")


def format_date(timestamp_s: float) -> str:
    """Return seconds since 1970 as `Sun, 06 Nov 1994 08:49:37 GMT`. Fractions are cut off."""
    date = datetime.fromtimestamp(int(timestamp_s), UTC)
    day, month = _DAYS[date.weekday()], _MONTHS[date.month - 1]
    return f"{day}, {date.day:02} {month} {date.year:04} {date.hour:02}:{date.minute:02}:{date.second:02} GMT"


def parse_date(text: str) -> int | None:
    """Return a date as seconds since 1970; None if it is malformed, in which case the field is to be ignored."""
    if len(text) > _LONGEST:
        return None
    for form in _FORMS:
        try:
            return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp())
        except ValueError:
            continue
    return None


def retry_after_s(value: str | None, now: float) -> float | None:
    """Return the seconds that a Retry-After field means (RFC 9110 §10.2.3), None if it says nothing intelligible."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    date = parse_date(text)
    return None if date is None else max(0.0, date - now)
