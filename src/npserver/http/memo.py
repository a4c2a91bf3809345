"""Bounded memo tables: a value is computed on the first look-up of its key, and a full table is cleared.

Most lines of most message heads come again, so parsing results are kept by the bytes they were made of. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Memo(dict[Key, Value]):
    """A dict that computes missing values with `make` and holds at most `size` of them.

    A key whose `make` raises is not stored. A look-up costs a third of one in `functools.lru_cache`, which wraps every
    key that is not a str or an int. A full table is cleared rather than trimmed: the keys in use soon return.
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


class MemoOnSecondUse(Memo[Key, Value]):
    """A memo that stores a value only on the second look-up of its key, for keys of which many are used once."""

    __slots__ = ("_seen",)

    def __init__(self, make: Callable[[Key], Value], size: int) -> None:
        super().__init__(make, size)
        self._seen: set[int] = set()  # hashes of keys

    def __missing__(self, key: Key) -> Value:
        if seen_before(self._seen, hash(key), self._size):
            return super().__missing__(key)
        return self._make(key)


def seen_before(seen: set[int], key: int, size: int) -> bool:
    """Return whether `seen` holds the hash `key`, and add it. A set of `size` hashes is cleared first."""
    if key in seen:
        return True
    if len(seen) >= size:
        seen.clear()
    seen.add(key)
    return False
