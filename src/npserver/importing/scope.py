"""Blocks inside each other, and which directive counts in the innermost of them. Pure."""

from __future__ import annotations

import re

from msgspec import Struct

from npserver.importing.directives import Directive

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


class Scope(Struct):
    """The blocks around a place, from the outermost to the innermost."""

    blocks: list[list[Directive]]

    def inner(self, block: list[Directive]) -> Scope:
        """Return the scope of a block in this one."""
        return Scope([*self.blocks, block])

    def own(self, *names: str) -> list[Directive]:
        """Return the directives of the innermost block with these names, and mark them as used."""
        return _taken([one for one in self.blocks[-1] if one.name in names])

    def find(self, *names: str) -> list[Directive]:
        """Return those of the innermost block that has any, and mark all as used: nginx inherits all or none."""
        found: list[Directive] = []
        for block in self.blocks:
            if here := _taken([one for one in block if one.name in names]):
                found = here
        return found

    def words(self, name: str) -> list[str]:
        """Return the arguments of the directive that counts; none if there is none."""
        found = self.find(name)
        return found[-1].args if found else []

    def word(self, name: str, default: str = "") -> str:
        """Return the first argument of the directive that counts."""
        words = self.words(name)
        return words[0] if words else default

    def constants(self) -> dict[str, str]:
        """Return the variables that `set` gives a value without variables."""
        found: dict[str, str] = {}
        for block in self.blocks:
            for one in block:
                if one.name == "set" and len(one.args) == 2:
                    value = _VARIABLE.sub(lambda match: found.get(match[1] or match[2], match[0]), one.args[1])
                    if "$" not in value:
                        one.used = True
                        found[one.args[0].removeprefix("$")] = value
        return found


def _taken(found: list[Directive]) -> list[Directive]:
    for one in found:
        one.used = True
    return found
