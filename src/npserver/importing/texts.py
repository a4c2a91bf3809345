"""nginx's texts, sizes and times in our words. Pure."""

from __future__ import annotations

import re

from npserver.errors import clip
from npserver.importing.scope import VARIABLE, Scope
from npserver.nginx_variables import UNLIKE, names_for
from npserver.web.logs.formats import CREDENTIALS
from npserver.web.variables import VARIABLES

_BY_NAME = ("header.", "cookie.", "query.")
_QUERY = re.compile(r"\$is_args\$(?:args|query_string)|\?\$(?:args|query_string)")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "M": 2592000, "y": 31536000}
_PART = re.compile(r"(\d+)(ms|[smhdwMy])?\s*")


class NoCounterpart(ValueError):
    """Something of nginx cannot be said in our config. The message says what."""


class Ours(str):
    """A text that has our variables already."""

    __slots__ = ()


def text(value: str, constants: dict[str, str] | None = None) -> str:
    """Return a text with our variables. `constants` are those of `set`. Raises: NoCounterpart."""
    constants = constants or {}
    if "$" in VARIABLE.sub("", value):
        raise NoCounterpart(f"dollar sign in {clip(value)}")
    parts = []
    for index, part in enumerate(_QUERY.split(value)):
        parts.append("$query" if index else "")
        parts.append(VARIABLE.sub(lambda match: _variable(match[1] or match[2], constants), part))
    return _bare("".join(parts))


def body(value: str, constants: dict[str, str]) -> str:
    """Return the text of an answer, in which backslashes are escapes. Raises: NoCounterpart."""
    escapes = {"n": "\n", "t": "\t", "r": "\r"}
    return text(re.sub(r"\\([ntr\"'\\])", lambda match: escapes.get(match[1], match[1]), value), constants)


def constant(value: str, scope: Scope) -> str:
    """Return a text in which only variables that `set` gives a value stand. Raises: NoCounterpart."""
    found = scope.fill_in(value)
    if "$" in found:
        raise NoCounterpart(f"variables in {clip(value)}")
    return found


def _variable(name: str, constants: dict[str, str]) -> str:
    if name in constants:
        known = constants[name]
        return known if isinstance(known, Ours) else known.replace("$", "$$")
    ours = names_for(name) if name not in UNLIKE else []
    if not ours or not all(one in VARIABLES or one.startswith(_BY_NAME) for one in ours):
        raise NoCounterpart(f"variable ${name}")
    return _references(ours)


def log_text(value: str, unlike: list[str]) -> str:
    """Return a text of a log with our variables, and `-` for those that have no counterpart.

    `unlike` takes a comment for these, and for each whose value is written in another way. Raises: NoCounterpart.
    """

    def replaced(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        ours = names_for(name)
        if CREDENTIALS.intersection(ours):
            raise NoCounterpart(f"whoever reads the log could log in with ${name}")
        if not ours or name.startswith("upstream_http_"):
            unlike.append(f"variable ${name}: no counterpart")
            return "-"
        if name in UNLIKE:
            unlike.append(f"${name} is ${ours[0]} here, which is written in another way")
        return _references(ours)

    if "$" in VARIABLE.sub("", value):
        raise NoCounterpart(f"dollar sign in {clip(value)}")
    return _bare(VARIABLE.sub(replaced, value))


def _references(names: list[str]) -> str:
    return " ".join([f"${{{name}}}" for name in names])


def _bare(value: str) -> str:
    """Return a text without the braces that are not needed."""
    return re.sub(r"\$\{([a-z_]+)\}(?![\w.-])", r"$\1", value)


def seconds(value: str) -> float:
    """Return a time such as `1m30s` in seconds. Raises: NoCounterpart."""
    parts = list(_PART.finditer(value))
    if not parts or "".join(part[0] for part in parts) != value or len(value) > 20:
        raise NoCounterpart(f"{clip(value)} is not a time")
    total = sum(int(part[1]) * _UNITS[part[2] or "s"] for part in parts)
    return int(total) if total == int(total) else total


def size(value: str) -> int | str:
    """Return a size such as `10m`. Raises: NoCounterpart."""
    if not re.fullmatch(r"\d{1,15}[kKmMgG]?", value):
        raise NoCounterpart(f"{clip(value)} is not a size")
    return int(value) if value.isdigit() else value.lower()
