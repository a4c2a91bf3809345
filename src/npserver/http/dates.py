"""HTTP dates (RFC 9110 §5.6.7): written as IMF-fixdate, read in all three forms."""

from __future__ import annotations

from calendar import timegm
from datetime import datetime
from email.utils import formatdate

_FORMS = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")
_LONGEST = len("Wednesday, 01-Jan-25 00:00:00 GMT")


def format_date(timestamp_s: float) -> str:
    """Write a date: `Sun, 06 Nov 1994 08:49:37 GMT`."""
    return formatdate(int(timestamp_s), usegmt=True)


def parse_date(text: str) -> int | None:
    """Read a date as seconds since 1970, None if it is not one (a recipient then ignores the field)."""
    if len(text) > _LONGEST:
        return None
    for form in _FORMS:
        try:
            return timegm(datetime.strptime(text, form).timetuple())
        except ValueError:
            continue
    return None
