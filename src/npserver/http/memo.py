"""Bounded memo tables: a value is computed on the first look-up of its key, and a full table is cleared.

Most lines of most message heads come again, so parsing results are kept by the bytes they were made of. What peers
send may be long: a table of such keys is bounded in their number and, by `fits`, in the size of each. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sized
from typing import TypeVar

SHORT = 512  # bytes or characters
SHORT_HEAD_BYTES = 4096

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Memo(dict[Key, Value]):
    """A dict that computes missing values with `make` and holds at most `size` of them.

    `fits` says of a key that is missing whether it may be stored; without it every one may. A key whose `make` raises
    is not stored. A look-up costs a third of one in `functools.lru_cache`, which wraps every
    key that is not a str or an int. A full table is cleared rather than trimmed: the keys in use soon return.
    """

    __slots__ = ("_fits", "_make", "_size")

    def __init__(self, make: Callable[[Key], Value], size: int, fits: Callable[[Key], bool] | None = None) -> None:
        self._make = make
        self._size = size
        self._fits = fits

    def __missing__(self, key: Key) -> Value:
        value = self._make(key)
        if self._fits is None or self._fits(key):
            if len(self) >= self._size:
                self.clear()
            self[key] = value
        return value


class MemoOnSecondUse(Memo[Key, Value]):
    """A memo that stores a value only on the second look-up of its key, for keys of which many are used once."""

    __slots__ = ("_seen",)

    def __init__(self, make: Callable[[Key], Value], size: int, fits: Callable[[Key], bool] | None = None) -> None:
        super().__init__(make, size, fits)
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


def is_short(text: Sized) -> bool:
    """Return whether a text is short enough to be a key of a table."""
    return len(text) <= SHORT


def are_short(fields: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether the fields of a head are together short enough to be a key of a table."""
    return sum([len(name) + len(value) for name, value in fields]) <= SHORT_HEAD_BYTES
