"""Conditions on what has ended: `only` of an access log. Compiled once, called for each request, session or query.

`status >= 400 and host = *.example.com or duration > 1s`: comparisons joined by `and` and `or`, of which `and` binds
tighter. Texts are compared as a whole; a `*` stands for any characters. Comparisons that are joined by `and` are about
requests, unless one of them is `type = session` or `type = query`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from npserver.config.units import parse_seconds, parse_size
from npserver.errors import clip
from npserver.guess import get_close_matches
from npserver.observe.access_output import Only
from npserver.observe.log_formats import split_endpoint
from npserver.regex import regex
from npserver.web.matching.values import make_glob

#: Returns whether a record fulfils conditions.
_Condition = Callable[[Any], bool]

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


#: How a value is read from a record, and from the config.
_Number = tuple[Callable[[Any], float], Callable[[str], float]]


class _Names(Struct, frozen=True):
    """The names of one type: what is compared as a number, and as a text."""

    numbers: Mapping[str, _Number]
    texts: Mapping[str, Callable[[Any], str]]

    def __contains__(self, name: str) -> bool:
        return name in self.numbers or name in self.texts

    def __iter__(self) -> Iterator[str]:
        return iter((*self.numbers, *self.texts))


_MOVED: Mapping[str, _Number] = {
    "duration": (lambda record: record.duration_s, _seconds),
    "received_bytes": (lambda record: record.received, _size),
    "sent_bytes": (lambda record: record.sent, _size),
}
_TYPES = {
    "request": _Names(
        {"status": (lambda record: record.status, _status), **_MOVED},
        {
            "client_ip": lambda record: record.client_ip,
            "scheme": lambda record: record.scheme,
            "method": lambda record: record.request.method,
            "host": lambda record: record.request.host,
            "path": lambda record: record.request.path,
            "protocol": lambda record: record.request.protocol,
            "upstream": lambda record: record.upstream,
            "user": lambda record: record.user,
            "rule": lambda record: record.rule,
        },
    ),
    "session": _Names(
        _MOVED,
        {
            "client_ip": lambda record: split_endpoint(record.client)[0],
            "kind": lambda record: record.kind,
            "listener": lambda record: record.listener,
            "target": lambda record: record.target,
            "reason": lambda record: record.reason,
        },
    ),
    "query": _Names(
        {},
        {
            "client_ip": lambda record: record.client_ip,
            "transport": lambda record: record.transport,
            "name": lambda record: record.name,
            "qtype": lambda record: record.type,
            "rcode": lambda record: record.rcode,
            "blocked_by": lambda record: record.blocked_by,
        },
    ),
}
_ALL = ("type", *dict.fromkeys(name for names in _TYPES.values() for name in names))

_Token = tuple[int, str, bool]  # column, text, whether it is in quotes


def compile_condition(text: str) -> Only:
    """Compile conditions. Raises: ValueError with the column at which they are wrong, from 1."""
    tokens = _tokens(text)
    if not tokens:
        raise ValueError("expected a comparison such as status >= 400")
    groups: list[list[list[_Token]]] = [[]]
    at = 0
    while True:
        groups[-1].append(tokens[at : at + 3])
        at += 3
        if at >= len(tokens):
            break
        column, word, _ = tokens[at]
        if word not in ("and", "or"):
            _compile(groups, len(text))  # what is wrong before it comes first
            raise ValueError(f"column {column}: expected 'and' or 'or', got {clip(word)}")
        if word == "or":
            groups.append([])
        at += 1
    return _compile(groups, len(text))


def _compile(groups: list[list[list[_Token]]], length: int) -> Only:
    """Compile comparisons, those of each list joined by `and`. `length`: of the whole text."""
    found: dict[str, list[tuple[_Condition, ...]]] = {kind: [] for kind in _TYPES}
    for group in groups:
        kind = _type_of(group, length)
        comparisons = [_comparison(one, kind, length) for one in group if not _is_type(one)]
        found[kind].append(tuple(comparisons))
    return Only(**{kind: _either(either) for kind, either in found.items()})


def _is_type(tokens: list[_Token]) -> bool:
    return bool(tokens) and tokens[0][1] == "type"


def _type_of(group: list[list[_Token]], length: int) -> str:
    """Return what comparisons joined by `and` are about."""
    kind = ""
    for tokens in filter(_is_type, group):
        if len(tokens) < 3:
            raise ValueError(f"column {length + 1}: expected = and a type: {', '.join(_TYPES)}")
        if tokens[1][1:] != ("=", False):
            raise ValueError(f"column {tokens[1][0]}: expected = after type, got {clip(tokens[1][1])}")
        column, value, _ = tokens[2]
        if value not in _TYPES:
            raise ValueError(f"column {column}: expected one of {', '.join(_TYPES)}, got {clip(value)}")
        if kind not in ("", value):
            raise ValueError(f"column {column}: nothing is a {kind} and a {value}: join them by 'or'")
        kind = value
    return kind or "request"


def _either(groups: list[tuple[_Condition, ...]]) -> _Condition | None:
    """Return whether all comparisons of one group hold; None for no groups."""
    if len(groups) == 1 and len(groups[0]) == 1:
        return groups[0][0]
    return (lambda record: any(all(one(record) for one in group) for group in groups)) if groups else None


def _tokens(text: str) -> list[_Token]:
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


def _comparison(tokens: list[_Token], kind: str, length: int) -> _Condition:
    """Compile a name, an operator and a value. `kind`: what is compared; `length`: of the whole text."""
    if not tokens:
        raise ValueError(f"column {length + 1}: expected a comparison such as status >= 400")
    column, name, _ = tokens[0]
    names = _TYPES[kind]
    if name not in names and name in _ALL:
        owners = [other for other, known in _TYPES.items() if name in known]
        hint = f"write type = {owners[0]} and {name} ..." if kind == "request" else f"it has {', '.join(names)}"
        raise ValueError(f"column {column}: a {kind} has no {name}; {hint}")
    if name not in names:
        close = get_close_matches(name, (*names, "type"), 1)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join((*names, 'type'))}"
        raise ValueError(f"column {column}: unknown name {clip(name)}; {hint}")
    if len(tokens) == 1:
        raise ValueError(f"column {length + 1}: expected an operator and a value for {name}")
    column, operator, is_quoted = tokens[1]
    allowed = tuple(_COMPARE) if name in names.numbers else ("=", "!=")
    if operator not in allowed or is_quoted:
        raise ValueError(f"column {column}: expected one of {' '.join(allowed)} after {name}, got {clip(operator)}")
    if len(tokens) == 2:
        raise ValueError(f"column {length + 1}: expected a value for {name}")
    column, value, is_quoted = tokens[2]
    if value in _COMPARE and not is_quoted:
        raise ValueError(f"column {column}: expected a value for {name}, got {clip(value)}")
    if name in names.numbers:
        read, parse = names.numbers[name]
        try:
            limit = parse(value)
        except ValueError as error:
            raise ValueError(f"column {column}: {error}") from None
        compare = _COMPARE[operator]
        return lambda record: compare(read(record), limit)
    return _text_comparison(names.texts[name], value, is_equal=operator == "=")


def _text_comparison(read: Callable[[Any], str], value: str, *, is_equal: bool) -> _Condition:
    glob = make_glob(value)
    return lambda record: glob.has(read(record)) is is_equal
