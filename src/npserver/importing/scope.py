"""Blocks inside each other, and which directive counts in the innermost of them. Pure."""

from __future__ import annotations

import re

from msgspec import Struct, field

from npserver.importing.directives import Directive

#: A reference to a variable of nginx: group 1 or 2 is its name.
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")

Names = dict[str, list[Directive]]  # the directives of a block by name


class Scope(Struct):
    """The blocks around a place, from the outermost to the innermost."""

    blocks: list[list[Directive]]
    names: list[Names] = field(default_factory=list)  # made once for each block, as blocks may be long

    def __post_init__(self) -> None:
        for block in self.blocks[len(self.names) :]:
            names: Names = {}
            for one in block:
                names.setdefault(one.name, []).append(one)
            self.names.append(names)

    def inner(self, block: list[Directive]) -> Scope:
        """Return the scope of a block in this one."""
        return Scope([*self.blocks, block], list(self.names))

    def instead(self, block: list[Directive]) -> Scope:
        """Return the scope of a block in place of the innermost one."""
        return Scope([*self.blocks[:-1], block], self.names[:-1])

    def own(self, *names: str) -> list[Directive]:
        """Return the directives of the innermost block with these names, and mark them as used."""
        return _taken(self.blocks[-1], self.names[-1], names)

    def find(self, *names: str) -> list[Directive]:
        """Return those of the innermost block that has any, and mark all as used: nginx inherits all or none."""
        found: list[Directive] = []
        for block, known in zip(self.blocks, self.names, strict=True):
            if here := _taken(block, known, names):
                found = here
        return found

    def here(self, name: str) -> list[Directive]:
        """Return the directives of the innermost block with this name."""
        return self.names[-1].get(name, [])

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
        for known in self.names:
            for one in known.get("set", ()):
                if len(one.args) == 2:
                    value = _filled(one.args[1], found)
                    if "$" not in value:
                        one.used = True
                        found[one.args[0].removeprefix("$")] = value
        return found

    def fill_in(self, value: str) -> str:
        """Return a text with these variables replaced; others stay."""
        return _filled(value, self.constants())


def _filled(value: str, constants: dict[str, str]) -> str:
    return VARIABLE.sub(lambda match: constants.get(match[1] or match[2], match[0]), value)


def _taken(block: list[Directive], known: Names, names: tuple[str, ...]) -> list[Directive]:
    """Return the directives of a block with these names, in their order, and mark them as used."""
    present = [name for name in names if name in known]
    if not present:
        return []
    found = list(known[present[0]]) if len(present) == 1 else [one for one in block if one.name in present]
    for one in found:
        one.used = True
    return found
