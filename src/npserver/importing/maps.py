"""nginx's `map` as `maps`. Used by `importing.draft`."""

from __future__ import annotations

from typing import Any

from npserver.importing.conditions import globs
from npserver.importing.directives import Directive
from npserver.importing.texts import NoCounterpart, text


def map_of(one: Directive) -> dict[str, Any]:
    """Return the entry of a map, and mark it as used. Raises: NoCounterpart."""
    found: dict[str, Any] = {"from": text(one.args[0]), "to": {}}
    for choice in one.block or []:
        if not choice.args:  # such as `hostnames`
            continue
        value = choice.args[0]
        if "$" in value:
            raise NoCounterpart(f"{choice.place}: variables in the values of a map")
        if choice.name == "default":
            found["default"] = value
        elif choice.name.startswith("~"):
            is_any_case = choice.name.startswith("~*")
            for key in globs(choice.name.lstrip("~*"), any_case=is_any_case):
                found["to"].setdefault(key, value)
        else:
            found["to"].setdefault(choice.name.removeprefix("\\"), value)
    one.used = True
    return found
