"""nginx's regular expressions as our `path_regex`. Pure.

nginx looks for an expression in the path, ours describes the whole of it, in bounded time. What cannot be said in
one is said another way: an exception such as `(?!pub/)` is a prefix of its own.
"""

from __future__ import annotations

import itertools
import re
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from msgspec import Struct

from npserver.importing.texts import NoCounterpart
from npserver.web.matching.path_regex import compile_path_regex

MAX_TEXTS = 256  # that a part between two repeats may stand for

_TOKEN = re.compile(r"\\.|\(\?P<\w+>|\(\?[:=!>]|\(\?<[=!]|\{[\d,]+\}|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
_EXCEPT = re.compile(r"\(\?!((?:\\?[\w./|-])+)\)")
_GROUP = re.compile(r"\((?!\?)|\(\?P<\w+>")
_LITERAL = re.compile(r"(?:\\[./_-]|[\w/-])*(?![?*{+])")  # a character before a repeat is not in it


class PathRegex(Struct):
    """An expression for whole paths, with prefixes where it does not hold, and the one that holds there instead."""

    text: str
    excepted: tuple[str, ...] = ()
    inside: str = ""


def path_regex(expression: str, *, any_case: bool) -> PathRegex:
    """Return a regular expression for the whole path, from one that nginx looks for in it. Raises: NoCounterpart."""
    pattern = re.sub(r"\(\?<(?=[A-Za-z])", "(?P<", expression).replace(r"\/", "/")
    if pattern.startswith("(?i)"):
        pattern, any_case = pattern[4:], True
    excepted: tuple[str, ...] = ()
    inside = ""
    if (found := _EXCEPT.search(pattern)) is not None:
        before = pattern[: found.start()]
        rest = pattern[found.end() :]
        bare = before.removeprefix("^")
        excepted = tuple(re.sub(r"\\(.)", r"\1", bare + one).rstrip("/") for one in found[1].split("|"))
        if not re.fullmatch(r"(?:\\[./_-]|[\w/-])*", bare) or _EXCEPT.search(rest):
            raise NoCounterpart("an exception after something else than a fixed path")
        if any(not one.startswith("/") or len(one) == 1 for one in excepted):
            raise NoCounterpart("an exception after something else than a fixed path")
        pattern = before + rest
        if not before.startswith("^"):
            inside = _whole(f"^{re.escape(excepted[0])}.*{pattern}", any_case=any_case) if len(excepted) == 1 else ""
    return PathRegex(_whole(pattern, any_case=any_case), excepted, inside)


def literal_start(expression: str) -> str:
    """Return the text that all paths begin with that an expression for whole paths describes."""
    begin = _LITERAL.match(expression) if not re.search(r"^[^([]*\|", expression) else None
    return re.sub(r"\\(.)", r"\1", begin[0]) if begin else ""


def with_encoded_slashes(expression: str) -> str:
    """Return an expression in which each slash after the first may be `%2F`; the same one if that is not possible."""
    tokens = _TOKEN.findall(expression)
    found = "".join(token if token != "/" or not at else "(?:/|%2F)" for at, token in enumerate(tokens))
    try:
        compile_path_regex(found)
    except ValueError:
        return expression
    return found


def _whole(pattern: str, *, any_case: bool) -> str:
    if any_case:
        pattern = _any_case(pattern)
    alternatives = [_anchored(one) for one in _split(pattern)]
    found = alternatives[0] if len(alternatives) == 1 else f"(?:{'|'.join(alternatives)})"
    try:
        compile_path_regex(found)
    except ValueError as error:
        atomic = _atomic(found)
        if atomic is None:
            raise NoCounterpart(str(error)) from error
        try:
            compile_path_regex(atomic)
        except ValueError:
            raise NoCounterpart(str(error)) from error
        return atomic
    return found


def _split(pattern: str) -> list[str]:
    """Return the alternatives of a pattern, which are not in a group."""
    parts = [""]
    depth = 0
    for token in _TOKEN.findall(pattern):
        depth += token.startswith("(") - (token == ")")
        if token == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += token
    return parts


def _anchored(pattern: str) -> str:
    found = pattern[1:] if pattern.startswith("^") else f".*{pattern}"
    if re.search(r"(?<!\\)(?:\\\\)*\$$", found):
        return found[:-1]
    return found if re.search(r"(?<!\\)(?:\\\\)*\.\*$", found) else f"{found}.*"


def _atomic(found: str) -> str | None:
    """Return `.*A.*B` as `(?>.*?A).*B`: what comes after the first A has all that comes after a later one.

    None if it is not of that form, or if one text that A stands for is a part of another.
    """
    tokens = _TOKEN.findall(found)
    depth = 0
    ends = []
    for at, token in enumerate(tokens):
        depth += token.startswith("(") - (token == ")")
        if depth == 0 and token == "." and tokens[at + 1 : at + 2] == ["*"]:
            ends.append(at)
    if len(ends) < 2 or not re.fullmatch(_LITERAL, "".join(tokens[: ends[0]])):
        return None
    between = "".join(tokens[ends[0] + 2 : ends[1]])
    try:
        texts = _texts(_parser.parse(between))
    except (re.error, ValueError):
        return None
    if any(one in other for one, other in itertools.permutations(texts, 2)):
        return None
    start = "".join(tokens[: ends[0]])
    return f"(?>{start}.*?{between}){''.join(tokens[ends[1] :])}"


def _texts(items: Any) -> set[str]:
    """Return all texts that an expression stands for, in lower case. Raises: ValueError if they are too many."""
    found = {""}
    for operation, argument in items:
        if operation is _parser.LITERAL:
            more = {chr(argument).lower()}
        elif operation is _parser.IN and all(kind is _parser.LITERAL for kind, _ in argument):
            more = {chr(value).lower() for _, value in argument}
        elif operation is _parser.SUBPATTERN:
            more = _texts(argument[3])
        elif operation is _parser.BRANCH:
            more = set().union(*(_texts(one) for one in argument[1]))
        elif operation is _parser.MAX_REPEAT and argument[:2] == (0, 1):
            more = {"", *_texts(argument[2])}
        else:
            raise ValueError("not a finite set of texts")
        found = {one + other for one in found for other in more}
        if len(found) > MAX_TEXTS:
            raise ValueError("too many texts")
    return found


def _any_case(body: str) -> str:
    """Return an expression that takes both cases of each letter."""
    parts: list[str] = []
    for token in _TOKEN.findall(body):
        if token.startswith("[") and len(token) > 1:
            head = "[^" if token.startswith("[^") else "["
            inner = token[len(head) : -1]
            more = [
                one for one in re.findall(r"[A-Za-z]-[A-Za-z]|\\.|.", inner, re.DOTALL) if re.match(r"[A-Za-z]", one)
            ]
            token = f"{head}{inner}{''.join(dict.fromkeys(one.swapcase() for one in more))}]"
        elif len(token) == 1 and token.isascii() and token.isalpha():
            token = f"[{token.lower()}{token.upper()}]"
        parts.append(token)
    return "".join(parts)


def template(expression: str) -> str | None:
    """Return the path that an anchored expression describes, with `$1` for its groups; None if it has other parts."""
    tokens = _TOKEN.findall(expression.removesuffix("$"))
    if tokens[:1] != ["^"]:
        return None
    found: list[str] = []
    depth = number = 0
    for token in tokens[1:]:
        if _GROUP.fullmatch(token):
            number += 1
            if depth == 0:
                found.append(f"${number}")
        if depth == 0 and not token.startswith("("):
            if not re.fullmatch(r"\\?[\w./-]", token):
                return None
            found.append(token[-1])
        elif depth == 0 and not _GROUP.fullmatch(token):
            return None
        depth += token.startswith("(") - (token == ")")
    return "".join(found)


def files_of(expression: str, alias: str) -> tuple[str, str] | None:
    """Return the prefix of paths and the directory where what follows it is looked for, of an alias with groups."""
    path = template(expression)
    if path is None:
        return None
    for at, character in enumerate(path):
        if character == "/" and "$" not in path[:at] and alias.endswith(path[at:]):
            directory = alias[: len(alias) - len(path) + at]
            if "$" not in directory:
                return path[:at], directory or "/"
    return None
