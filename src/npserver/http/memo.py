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


class Recurring(Memory[Key, Value]):
    """The same for texts of which many never come again: what is made of one is kept from its second time on."""

    __slots__ = ("_sighted",)

    def __init__(self, make: Callable[[Key], Value], size: int) -> None:
        super().__init__(make, size)
        self._sighted: set[int] = set()  # hashes

    def __missing__(self, key: Key) -> Value:
        if is_sighted(self._sighted, hash(key), self._size):
            return super().__missing__(key)
        return self._make(key)


def is_sighted(sighted: set[int], key: int, size: int) -> bool:
    """Whether `key` was here before; it is noted. At `size` of them all are forgotten."""
    if key in sighted:
        return True
    if len(sighted) >= size:
        sighted.clear()
    sighted.add(key)
    return False
