"""Regular expressions mean the same on every Python from 3.11 on."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from re import _parser  # type: ignore[attr-defined]
from typing import Any

import npserver

#: What stands for one character.
SINGLE = (_parser.IN, _parser.LITERAL, _parser.NOT_LITERAL, _parser.ANY)


def patterns() -> Iterator[tuple[str, str | bytes]]:
    for module in pkgutil.walk_packages(npserver.__path__, "npserver."):
        if module.name != "npserver.__main__":
            for name, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, re.Pattern) or type(value).__module__ == "npserver.regex":
                    yield f"{module.name}.{name}", value.pattern


def possessive_groups(parsed: Any) -> Iterator[Any]:
    for operation, argument in parsed:
        if (
            operation is _parser.POSSESSIVE_REPEAT
        ):  # what is repeated by POSSESSIVE_REPEAT_ONE is compiled to that later
            least, most, repeated = argument
            if len(repeated) != 1 or repeated[0][0] not in (
                _parser.IN,
                _parser.LITERAL,
                _parser.NOT_LITERAL,
                _parser.ANY,
            ):
                yield least, most, repeated
        for part in _parts(argument):
            yield from possessive_groups(part)


def _parts(argument: Any) -> Iterator[Any]:
    if isinstance(argument, _parser.SubPattern):
        yield argument
    elif isinstance(argument, (tuple, list)):
        for one in argument:
            yield from _parts(one)


def test_no_group_is_possessive() -> None:
    """Python 3.11.2 matches them wrongly: its captures and places go astray."""
    found = dict(patterns())
    assert len(found) > 50
    assert [name for name, pattern in found.items() if [*possessive_groups(_parser.parse(pattern))]] == []


def test_a_possessive_group_would_be_found() -> None:
    assert [*possessive_groups(_parser.parse(r"a(?:b|(c(?:de)*+))"))]
    assert not [*possessive_groups(_parser.parse(r"a*+[bc]++(?:d.?+)*"))]
