"""The body of a small request as a whole, for handlers that cannot begin before its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class WholeBody:
    """Collects a request body that an exchange receives, and gives it to `done`: None if it is too long.

    `done` is called once, as soon as more than `max_bytes` have come or at the end, and not if the client goes before.
    """

    __slots__ = ("_data", "_done", "_max_bytes")

    def __init__(self, max_bytes: int, done: Callable[[bytes | None], None]) -> None:
        self._max_bytes = max_bytes
        self._done = done
        self._data: bytearray | None = bytearray()

    def body_data(self, data: bytes) -> None:
        """Append a part."""
        if self._data is None:
            return
        self._data += data
        if len(self._data) > self._max_bytes:
            self._data = None
            self._done(None)

    def body_end(self, trailers: bytes) -> None:
        """Give the whole to who waits for it."""
        if self._data is not None:
            self._done(bytes(self._data))

    def body_lost(self, reason: str) -> None:
        """Drop what has come."""
        self._data = None
