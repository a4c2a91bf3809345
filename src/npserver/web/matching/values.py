"""The values that a condition wants: texts with stars, or only whether there is one. Pure.

`web.matching.conditions` compares the fields, parameters and cookies of each request with them.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct


class Glob(Struct, frozen=True):
    """A text with stars, each of which stands for any characters or none. Matches in linear time."""

    text: str
    parts: tuple[str, ...]  # between the stars

    def has(self, value: str) -> bool:
        """Return whether the whole of `value` is what the text stands for."""
        parts = self.parts
        if len(parts) == 1:
            return value == parts[0]
        first, *middle, last = parts
        if len(value) < len(first) + len(last) or not value.startswith(first) or not value.endswith(last):
            return False
        at, end = len(first), len(value) - len(last)
        for part in middle:
            at = value.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True

    def includes(self, other: Glob) -> bool:
        """Return whether all values of `other` are surely values of this one."""
        if len(other.parts) == 1:
            return self.has(other.text)
        return self.text == other.text or set(self.text) == {"*"}


def make_glob(text: str) -> Glob:
    """Return a text with stars, ready to be compared."""
    return Glob(text, tuple(text.split("*")))


class Wanted(Struct, frozen=True):
    """What one field, parameter or cookie must be. Without `globs`: whether it must be there."""

    name: str
    is_there: bool = True
    globs: tuple[Glob, ...] = ()

    def holds(self, values: Iterable[str] | None) -> bool:
        """Return whether one of the values is wanted. None: there is none by that name."""
        if values is None:
            return not self.is_there
        return self.is_there and (not self.globs or any(glob.has(value) for value in values for glob in self.globs))

    def follows_from(self, other: Wanted) -> bool:
        """Return whether this surely holds where `other`, of the same name, does."""
        if self.is_there is not other.is_there:
            return False
        if not self.globs:
            return True
        return bool(other.globs) and all(any(mine.includes(one) for mine in self.globs) for one in other.globs)


def make_wanted(name: str, value: bool | str | list[str]) -> Wanted:
    """Return what the config says about one name."""
    if isinstance(value, bool):
        return Wanted(name, value)
    return Wanted(name, True, tuple(map(make_glob, [value] if isinstance(value, str) else value)))
