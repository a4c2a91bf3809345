"""Conditions on finished requests: `only` of an access log. Compiled once, called for each request.

`status >= 400 and host = *.example.com or duration > 1s`: comparisons joined by `and` and `or`, of which `and` binds
tighter. Texts are compared as a whole; a `*` stands for any characters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from npserver.config.units import parse_seconds, parse_size
from npserver.errors import clip
from npserver.guess import get_close_matches
from npserver.regex import regex
from npserver.web.matching.values import make_glob

if TYPE_CHECKING:
    from npserver.observe.access_output import Condition
    from npserver.observe.request_record import RequestRecord

_TOKEN = regex(r'\s*(?:"([^"]*)"|(<=|>=|!=|<|>|=)|([^\s<>=!"]+))')
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": lambda one, other: bool(one < other),
    "<=": lambda one, other: bool(one <= other),
    ">": lambda one, other: bool(one > other),
    ">=": lambda one, other: bool(one >= other),
    "=": lambda one, other: bool(one == other),
    "!=": lambda one, other: bool(one != other),
}


def _status(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 100 <= int(text[:4]) <= 999):
        raise ValueError(f"expected a status such as 404, got {clip(text)}")
    return int(text)


def _size(text: str) -> int:
    return parse_size(int(text) if text.isascii() and text.isdecimal() else text)


def _seconds(text: str) -> float:
    return parse_seconds(int(text) if text.isascii() and text.isdecimal() else text)


#: What is compared as a number: how it is read from a record, and from the config.
_NUMBERS: Mapping[str, tuple[Callable[[RequestRecord], float], Callable[[str], float]]] = {
    "status": (lambda record: record.status, _status),
    "duration": (lambda record: record.duration_s, _seconds),
    "received_bytes": (lambda record: record.received, _size),
    "sent_bytes": (lambda record: record.sent, _size),
}
_TEXTS: Mapping[str, Callable[[RequestRecord], str]] = {
    "client_ip": lambda record: record.client_ip,
    "scheme": lambda record: record.scheme,
    "method": lambda record: record.request.method,
    "host": lambda record: record.request.host,
    "path": lambda record: record.request.path,
    "protocol": lambda record: record.request.protocol,
    "upstream": lambda record: record.upstream,
    "user": lambda record: record.user,
}
NAMES = (*_NUMBERS, *_TEXTS)


def compile_condition(text: str) -> Condition:
    """Compile a condition. Raises: ValueError with the column at which it is wrong, from 1."""
    tokens = _tokens(text)
    if not tokens:
        raise ValueError("expected a comparison such as status >= 400")
    either: list[list[Condition]] = [[]]
    at = 0
    while True:
        either[-1].append(_comparison(tokens[at : at + 3], len(text)))
        at += 3
        if at >= len(tokens):
            break
        column, word, _ = tokens[at]
        if word not in ("and", "or"):
            raise ValueError(f"column {column}: expected 'and' or 'or', got {clip(word)}")
        if word == "or":
            either.append([])
        at += 1
    groups = [tuple(group) for group in either]
    if len(groups) == 1 and len(groups[0]) == 1:
        return groups[0][0]
    return lambda record: any(all(one(record) for one in group) for group in groups)


def _tokens(text: str) -> list[tuple[int, str, bool]]:
    """Return the words of a condition: the column, the text, and whether it stands for itself (it is in quotes)."""
    found, end = [], 0
    text = text.rstrip()
    while end < len(text):
        match = _TOKEN.match(text, end)
        if match is None:
            rest = text[end:].lstrip()
            raise ValueError(f"column {len(text) - len(rest) + 1}: cannot read {clip(rest)}")
        group = match.lastindex or 0
        found.append((match.start(group) + 1, match[group], group == 1))
        end = match.end()
    return found


def _comparison(tokens: list[tuple[int, str, bool]], length: int) -> Condition:
    """Compile a name, an operator and a value. `length`: of the whole text."""
    if not tokens:
        raise ValueError(f"column {length + 1}: expected a comparison such as status >= 400")
    column, name, _ = tokens[0]
    if name not in NAMES:
        close = get_close_matches(name, NAMES, 1)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(NAMES)}"
        raise ValueError(f"column {column}: unknown name {clip(name)}; {hint}")
    if len(tokens) == 1:
        raise ValueError(f"column {length + 1}: expected an operator and a value for {name}")
    column, operator, is_quoted = tokens[1]
    allowed = tuple(_COMPARE) if name in _NUMBERS else ("=", "!=")
    if operator not in allowed or is_quoted:
        raise ValueError(f"column {column}: expected one of {' '.join(allowed)} after {name}, got {clip(operator)}")
    if len(tokens) == 2:
        raise ValueError(f"column {length + 1}: expected a value for {name}")
    column, value, is_quoted = tokens[2]
    if value in _COMPARE and not is_quoted:
        raise ValueError(f"column {column}: expected a value for {name}, got {clip(value)}")
    if name in _NUMBERS:
        read, parse = _NUMBERS[name]
        try:
            limit = parse(value)
        except ValueError as error:
            raise ValueError(f"column {column}: {error}") from None
        compare = _COMPARE[operator]
        return lambda record: compare(read(record), limit)
    return _text_comparison(_TEXTS[name], value, is_equal=operator == "=")


def _text_comparison(read: Callable[[RequestRecord], str], value: str, *, is_equal: bool) -> Condition:
    glob = make_glob(value)
    return lambda record: glob.has(read(record)) is is_equal
