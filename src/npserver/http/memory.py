"""What was made of a text, remembered for the next time: most lines of most heads come again."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Memory(dict[Key, Value]):
    """Values by what they are made of, each made when first asked for; what raises is not kept.

    A look-up costs a third of `functools.lru_cache`'s, which packs all keys but texts and numbers. When `size` values
    are held all are forgotten: those in use are soon there again.
    """

    __slots__ = ("_make", "_size")

    def __init__(self, make: Callable[[Key], Value], size: int) -> None:
        self._make = make
        self._size = size

    def __missing__(self, key: Key) -> Value:
        value = self._make(key)
        if len(self) >= self._size:
            self.clear()
        self[key] = value
        return value
