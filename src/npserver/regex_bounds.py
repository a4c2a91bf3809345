"""How long a regular expression can take to match.

Python matches by backtracking: a pattern such as `(a+)+` takes time that doubles with each character of the text. Such
patterns are refused when the config is compiled. Used for paths of requests and bodies of health checks. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from msgspec import Struct

from npserver.errors import clip

MAX_PATTERN = 1024  # characters
MAX_LOOSE = 1  # repeats that can stop at several places: with one, the time grows with the square of the text's length
MAX_WAYS = 64  # ways through the alternatives and optional parts that begin alike
MAX_COUNT = 256  # of a repeat that has an end

Item = tuple[Any, Any]  # an operation of a parsed pattern, and its argument

_SINGLE = {_parser.LITERAL, _parser.NOT_LITERAL, _parser.IN, _parser.ANY}
REPEATS = {_parser.MAX_REPEAT, _parser.MIN_REPEAT}
_ALL = frozenset(map(chr, range(256)))  # a canonical path is ASCII, a body octets


def compile_bounded(text: str, instead: str) -> tuple[re.Pattern[str], list[Item]]:
    """Return a regular expression, and what it consists of.

    `instead`: what to write for `.+`, for the message. Raises: ValueError that says what is wrong with it.
    """
    if len(text) > MAX_PATTERN:
        raise ValueError(f"regular expression {clip(text)} has more than {MAX_PATTERN} characters")
    try:
        compiled = re.compile(text)
        parsed = _parser.parse(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{clip(text)} is not a regular expression: {error}") from None
    if compiled.flags & ~re.UNICODE:
        raise ValueError(f"regular expression {clip(text)}: flags are not supported")
    items = flat(parsed)
    try:
        cost = _check(items, [], is_repeated=False)
    except ValueError as error:
        raise ValueError(f"regular expression {clip(text)}: {error}") from None
    if cost.loose > MAX_LOOSE or cost.ways > MAX_WAYS:
        raise ValueError(
            f"regular expression {clip(text)} may take long: several of its parts can end at many places; write what "
            f"they may hold, such as {instead} for .+"
        )
    return compiled, items


class _Cost(Struct, frozen=True):
    """How many places and alternatives matching may have to try."""

    loose: int = 0
    ways: int = 1

    def __add__(self, other: _Cost) -> _Cost:
        return _Cost(self.loose + other.loose, self.ways * other.ways)


def flat(parsed: Any) -> list[tuple[Any, Any]]:
    """Return the items of a sequence, those of its groups in their places."""
    items = []
    for operation, argument in parsed:
        if operation is _parser.SUBPATTERN and not argument[1] and not argument[2]:
            items += flat(argument[3])
        else:
            items.append((operation, argument))
    return items


def _check(items: list[Item], after: list[Item], *, is_repeated: bool) -> _Cost:
    """Return what a sequence may cost. `after`: what follows it. Raises: ValueError if there is no bound."""
    cost = _Cost()
    for place, (operation, argument) in enumerate(items):
        rest = items[place + 1 :] + after
        if operation in REPEATS:
            cost += _check_repeat(argument, rest, is_repeated=is_repeated)
        elif operation is _parser.BRANCH:
            cost += _check_branches([flat(one) for one in argument[1]], rest, is_repeated=is_repeated)
        elif operation is _parser.ATOMIC_GROUP:  # what follows does not make it match again
            inside = _check(flat(argument), [], is_repeated=is_repeated)
            behind = _check(items[place + 1 :], after, is_repeated=is_repeated)
            return cost + _Cost(max(inside.loose, behind.loose), max(inside.ways, behind.ways))
        elif operation not in _SINGLE and operation is not _parser.AT:
            raise ValueError(f"{str(operation).lower().replace('_', ' ')} is not supported")
    return cost


def _check_repeat(argument: Any, rest: list[Item], *, is_repeated: bool) -> _Cost:
    least, most, inner = argument
    body = flat(inner)
    is_fixed = least == most
    if most is not _parser.MAXREPEAT and most > MAX_COUNT:
        raise ValueError(f"a repeat of more than {MAX_COUNT}")
    if is_repeated and not is_fixed:
        raise ValueError("it may take forever: a repeat within a repeat")
    is_ambiguous = bool(rest) and not is_fixed and not first(body).isdisjoint(first(rest))
    if most == 1:
        return _check(body, rest, is_repeated=is_repeated) + _Cost(0, 1 + is_ambiguous)
    inside = _check(body, [], is_repeated=True)
    if inside != _Cost():
        raise ValueError("it may take forever: a repeat of what can be read in several ways")
    if not _least(body):
        raise ValueError("a repeat of what may be empty")
    return _Cost(int(is_ambiguous))


def _check_branches(branches: list[list[Item]], rest: list[Item], *, is_repeated: bool) -> _Cost:
    cost = _Cost(0, 1)
    for branch in branches:
        one = _check(branch, rest, is_repeated=is_repeated)
        cost = _Cost(max(cost.loose, one.loose), max(cost.ways, one.ways))
    is_ambiguous = any(not _are_apart(one, other, rest) for at, one in enumerate(branches) for other in branches[:at])
    return cost + _Cost(0, len(branches) if is_ambiguous else 1)


def _are_apart(one: list[Item], other: list[Item], rest: list[Item]) -> bool:
    """Return whether no text can be read by both alternatives."""
    for mine, theirs in zip(one, other, strict=False):
        if mine[0] is not _parser.LITERAL or theirs[0] is not _parser.LITERAL:
            break
        if mine[1] != theirs[1]:
            return True
    return first(one + rest).isdisjoint(first(other + rest))


def _least(items: Iterable[tuple[Any, Any]]) -> int:
    """Return whether a sequence takes a character at least (1) or may be empty (0)."""
    for operation, argument in items:
        if operation in _SINGLE:
            return 1
        if operation in REPEATS and argument[0] and _least(flat(argument[2])):
            return 1
        if operation is _parser.ATOMIC_GROUP and _least(flat(argument)):
            return 1
        if operation is _parser.BRANCH and all(_least(flat(one)) for one in argument[1]):
            return 1
    return 0


def first(items: Iterable[tuple[Any, Any]]) -> frozenset[str]:
    """Return the characters that a sequence may begin with; all, if it may be empty."""
    found: frozenset[str] = frozenset()
    for operation, argument in items:
        if operation in _SINGLE:
            return found | _characters(operation, argument)
        if operation in REPEATS:
            body = flat(argument[2])
            found |= first(body) if _least(body) else _ALL
            if argument[0] and _least(body):
                return found
        elif operation is _parser.ATOMIC_GROUP:
            found |= first(flat(argument))
            if _least(flat(argument)):
                return found
        elif operation is _parser.BRANCH:
            found |= frozenset().union(*(first(flat(one)) for one in argument[1]))
            if _least([(operation, argument)]):
                return found
    return _ALL


def _characters(operation: Any, argument: Any) -> frozenset[str]:
    if operation is _parser.ANY:
        return _ALL - {"\n"}
    if operation is _parser.LITERAL:
        return frozenset({chr(argument)}) if argument < 256 else frozenset()
    if operation is _parser.NOT_LITERAL:
        return _ALL - {chr(argument)}
    found: set[str] = set()
    is_negated = False
    for kind, value in argument:
        if kind is _parser.NEGATE:
            is_negated = True
        elif kind is _parser.LITERAL:
            found.add(chr(value))
        elif kind is _parser.RANGE:
            found.update(one for one in _ALL if value[0] <= ord(one) <= value[1])
        else:  # a category such as \d
            found.update(one for one in _ALL if re.match(_CATEGORIES[str(value)], one))
    return _ALL - found if is_negated else _ALL & found


_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d", "CATEGORY_NOT_DIGIT": r"\D", "CATEGORY_SPACE": r"\s", "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w", "CATEGORY_NOT_WORD": r"\W",
}  # fmt: skip
