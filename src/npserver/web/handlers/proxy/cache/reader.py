"""A client that waits for a response that is being received, or is sent it as it arrives.

A client that keeps up is sent each piece at once; one that does not reads the rest from the file, so that it slows down
neither the upstream nor the other clients. Made by `fill`.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from npserver.web.exchange import Exchange

_PIECE_BYTES = 64 << 10


class ReadFill(Protocol):
    """The fill as its readers know it."""

    @property
    def stored(self) -> int:
        """Bytes of the body in the file."""

    @property
    def file(self) -> int:
        """The descriptor of the file."""

    @property
    def body_at(self) -> int:
        """Where in the file the body begins."""

    @property
    def has_ended(self) -> bool:
        """Whether the body is complete."""

    def caught_up(self) -> None:
        """Called when a reader that had kept the upstream waiting has room again."""

    def hold(self) -> None:
        """Called when data is kept for a reader in memory: the upstream is to wait."""

    def leave(self, reader: Reader) -> None:
        """Called when a reader is done, or its client is gone."""


class Reader:
    """One exchange that is answered by a fill: the source of its response."""

    __slots__ = ("_fill", "_is_paused", "_pending", "exchange", "has_started", "sent")

    def __init__(self, fill: ReadFill, exchange: Exchange) -> None:
        self._fill: ReadFill | None = fill
        self.exchange = exchange
        self.has_started = False
        self.sent = 0  # bytes of the body
        self._is_paused = False
        self._pending: deque[bytes] = deque()  # what is in no file
        exchange.source = self

    @property
    def is_behind(self) -> bool:
        """Whether data is kept in memory for it."""
        return bool(self._pending)

    def start(self, status: int, fields: bytes, length: int | None) -> None:
        """Begin the response."""
        self.has_started = True
        self.exchange.start(status, fields, length, self)

    def feed(self, data: bytes, *, is_stored: bool) -> None:
        """Send the next piece of the body, now or later. `is_stored`: it is in the file too."""
        if self._is_paused or self._pending or (is_stored and self.sent + len(data) < self._total()):
            if not is_stored and self._fill is not None:
                self._pending.append(data)
                self._fill.hold()
            return
        self.sent += len(data)
        self.exchange.write(data)

    def pump(self) -> None:
        """Send what there is, as far as the client takes it, and the end if the body is complete."""
        while (fill := self._fill) is not None and not self._is_paused and self.sent < fill.stored:
            data = os.pread(fill.file, min(_PIECE_BYTES, fill.stored - self.sent), fill.body_at + self.sent)
            if not data:
                self.abort("a file of the cache has become shorter")
                return
            self.sent += len(data)
            self.exchange.write(data)
        while self._pending and not self._is_paused:
            data = self._pending.popleft()
            self.sent += len(data)
            self.exchange.write(data)
        if (fill := self._fill) is None or self._is_paused:
            return
        if fill.has_ended:
            self.done()
            self.exchange.finish()
        else:
            fill.caught_up()

    def abort(self, reason: str, key: str = "") -> None:
        """Break the response off."""
        self.done()
        self.exchange.abort(reason, key)

    def done(self) -> None:
        """Leave the fill: the exchange is answered, or is given to another."""
        fill, self._fill = self._fill, None
        if fill is not None:
            fill.leave(self)

    def _total(self) -> int:
        return self._fill.stored if self._fill is not None else 0

    # ── called by the exchange ──

    def pause(self) -> None:
        """Called when the client's buffer is full."""
        self._is_paused = True

    def resume(self) -> None:
        """Called when it has room again."""
        self._is_paused = False
        if self.has_started:
            self.pump()

    def cancel(self) -> None:
        """Called when the client is gone."""
        self._pending.clear()
        self.done()
