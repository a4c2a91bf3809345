"""A part of an open file as the source of a streamed response: read and written piece by piece, as the client takes it.

Used over HTTP/2, and over HTTP/1.1 where a response filter wants to see the body; owns the file's descriptor.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from npserver.web.file_state import is_overwritten

if TYPE_CHECKING:
    from npserver.web.exchange import Exchange

PIECE_BYTES = 32 << 10  # read at once for response filters, which may take long for each or send them at a pace
LARGE_PIECE_BYTES = 128 << 10  # where nothing stands between file and client; each piece costs some system calls
TURN_BYTES = 1 << 20  # sent before the event loop serves other connections


class FileSource:
    """One file being sent. If the file is overwritten meanwhile, the client gets a truncated response, not a
    mixture."""

    __slots__ = (
        "_exchange",
        "_file",
        "_is_due",
        "_is_first",
        "_is_paused",
        "_left",
        "_offset",
        "_piece_bytes",
        "_status",
    )

    def __init__(
        self, exchange: Exchange, file: int, offset: int, length: int, *, piece_bytes: int = PIECE_BYTES
    ) -> None:
        self._piece_bytes = piece_bytes
        self._exchange = exchange
        self._file = file
        self._status = os.fstat(file)
        self._offset = offset
        self._left = length
        self._is_first = True
        self._is_paused = False
        self._is_due = False

    def pause(self) -> None:
        """Stop reading until `resume`: the client's buffer is full."""
        self._is_paused = True

    def resume(self) -> None:
        """Continue: the client's buffer has room again."""
        self._is_paused = False
        if not self._is_due:
            self.copy()

    def cancel(self) -> None:
        """Stop, and close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def copy(self) -> None:
        """Read and write until the client's buffer is full."""
        self._is_due = False
        exchange, turn = self._exchange, 0
        while self._file >= 0 and self._left and not self._is_paused:
            if turn >= TURN_BYTES:
                self._is_due = True
                exchange.context.loop.call_soon(self.copy)
                return
            try:
                data = os.pread(self._file, min(self._left, self._piece_bytes), self._offset)
                if not self._is_first and is_overwritten(self._file, self._status):
                    self._break_off("file was overwritten while being sent")
                    return
            except OSError as error:
                self._break_off(f"cannot read the file: {error.strerror}")
                return
            if not data:
                self._break_off("file became shorter while being sent")
                return
            self._is_first = False
            self._offset += len(data)
            self._left -= len(data)
            turn += len(data)
            exchange.write(data)
        if not self._left and self._file >= 0:
            self.cancel()
            exchange.finish()

    def _break_off(self, reason: str) -> None:
        self.cancel()
        self._exchange.abort(reason)
