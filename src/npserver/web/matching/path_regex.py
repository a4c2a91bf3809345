"""Regular expressions for paths, of which the time to match is bounded.

A pattern describes the whole canonical path. Longer paths than `MAX_PATH` are not compared: `web.matching.router` has
them refused. Pure.
"""

from __future__ import annotations

import re
from re import _parser  # type: ignore[attr-defined]
from urllib.parse import quote, unquote_to_bytes

from npserver.errors import clip
from npserver.regex_bounds import REPEATS, Item, compile_bounded, first, flat

MAX_PATH = 1024  # characters of a path that is compared with regular expressions

_NOT_CANONICAL = re.compile(r"%[0-9A-Fa-f]{2}|[ \x80-\U0010ffff]")  # literals to look at: escapes, and what is escaped


def compile_path_regex(text: str) -> re.Pattern[str]:
    """Return a regular expression for paths. Raises: ValueError that says what is wrong with it."""
    compiled, items = compile_bounded(text, "[^/]+")
    if not text or "/" not in first(items):
        raise ValueError(
            f"regular expression {clip(text)} never matches: it describes the whole path, from its first slash to its "
            r"end, such as /.*\.php"
        )
    if (wrong := _never_in_a_path(items)) is not None:
        written, right = wrong
        raise ValueError(f"regular expression {clip(text)} never matches: a path has {right} where it has {written}")
    return compiled


def matches(pattern: re.Pattern[str], path: str) -> bool:
    """Return whether a pattern describes the whole of a path."""
    return len(path) <= MAX_PATH and pattern.fullmatch(path) is not None


def _never_in_a_path(items: list[Item]) -> tuple[str, str] | None:
    """Return a literal that no canonical path has, and what stands there instead; None if all of them may be in one."""
    text = "".join(chr(value) if operation is _parser.LITERAL else "\0" for operation, value in items)
    for found in _NOT_CANONICAL.finditer(text):
        written = found[0]
        canonical = quote(unquote_to_bytes(written), safe="")
        if canonical != written:
            return repr(written), repr(canonical)
    for operation, argument in items:
        parts = []
        if operation in REPEATS:
            parts = [argument[2]]
        elif operation is _parser.BRANCH:
            parts = argument[1]
        elif operation is _parser.ATOMIC_GROUP:
            parts = [argument]
        for part in parts:
            if (wrong := _never_in_a_path(flat(part))) is not None:
                return wrong
    return None
