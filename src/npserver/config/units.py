"""Sizes and times as people write them: ``65536`` or ``"64k"``, ``10`` or ``"500ms"``.

Called by the config decoder; pure.
"""

from __future__ import annotations

import re

from npserver.errors import clip
from npserver.regex import regex

_SIZE = regex(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_SIZE_FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_TIME = regex(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*(ms|s|m|h|d)?")
_TIME_FACTORS = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

MAX_SIZE = 1 << 50  # 1 PiB: more is a slip of the pen
MAX_SECONDS = 10 * 366 * 86400.0  # ten years; also what timers and sockets can still represent

_PERCENT = regex(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%")


class Size(int):
    """A number of bytes: a whole number, or text with a suffix ``k m g t`` (powers of 1024)."""


class Seconds(float):
    """A span of time in seconds: a number, or text with a suffix ``ms s m h d``."""


def parse_size(value: object) -> Size:
    """Read a size. Raises: ValueError for anything else than a size from 0 to `MAX_SIZE`."""
    size: float = -1
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        size = float(match[1]) * _SIZE_FACTORS[match[2].lower()]
    if size > MAX_SIZE:
        raise ValueError(f"size out of range, at most {MAX_SIZE >> 40}t is possible: {clip(value)}")
    if size < 0:
        raise ValueError(f'expected a size such as 65536 or "64k", got {clip(value)}')
    return Size(size)


def parse_seconds(value: object) -> Seconds:
    """Read a span of time. Raises: ValueError for anything else than a span from 0 to `MAX_SECONDS`."""
    span: float = -1
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        span = value
    elif isinstance(value, str) and (match := _TIME.fullmatch(value.strip())):
        span = float(match[1]) * _TIME_FACTORS[match[2]]
    if span > MAX_SECONDS:
        raise ValueError(f"time out of range, at most {MAX_SECONDS / 86400:.0f}d is possible: {clip(value)}")
    if not span >= 0:  # false for NaN too
        raise ValueError(f'expected a time such as 10, "500ms" or "5m", got {clip(value)}')
    return Seconds(span)


def parse_percent(value: str) -> float:
    """Read a share such as "5%"; return it as a part of 1. Raises: ValueError for anything else than 0 to 100 %."""
    match = _PERCENT.fullmatch(value.strip())
    if match is None or float(match[1]) > 100:
        raise ValueError(f'expected a share from "0%" to "100%", got {clip(value)}')
    return float(match[1]) / 100
