"""Sizes and times as people write them: ``65536`` or ``"64k"``, ``10`` or ``"500ms"``.

Called by the config decoder; pure.
"""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_SIZE_FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_TIME_FACTORS = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Size(int):
    """A number of bytes: a whole number, or text with a suffix ``k m g t`` (powers of 1024)."""


class Seconds(float):
    """A span of time in seconds: a number, or text with a suffix ``ms s m h d``."""


def parse_size(value: object) -> Size:
    """Read a size. Raises: ValueError for anything else than a size from 0 up."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Size(value)
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        return Size(float(match[1]) * _SIZE_FACTORS[match[2].lower()])
    raise ValueError(f'expected a size such as 65536 or "64k", got {value!r:.60}')


def parse_seconds(value: object) -> Seconds:
    """Read a span of time. Raises: ValueError for anything else than a span from 0 up."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e10:
        return Seconds(value)
    if isinstance(value, str) and (match := _TIME.fullmatch(value.strip())):
        return Seconds(float(match[1]) * _TIME_FACTORS[match[2]])
    raise ValueError(f'expected a time such as 10, "500ms" or "5m", got {value!r:.60}')
