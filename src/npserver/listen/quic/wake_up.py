"""One timer of a QUIC connection, which is moved with each datagram: a timer that is too early is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.runtime.deadlines import NEVER

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class WakeUp:
    """Calls a function at a time, or before."""

    __slots__ = ("_at", "_call", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
        self._loop = loop
        self._call = call
        self._handle: asyncio.TimerHandle | None = None
        self._at = NEVER

    def set(self, at: float) -> None:
        """Call at `at`, by the loop's clock, if not before."""
        if self._at <= at:
            return
        if self._handle is not None:
            self._handle.cancel()
        self._at = at
        self._handle = self._loop.call_at(at, self._wake)

    def cancel(self) -> None:
        """Call no more, and refer to nothing."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._call = _nothing

    def _wake(self) -> None:
        self._handle, self._at = None, NEVER
        self._call()


def _nothing() -> None:
    """Stand for a function that is not called any more."""
