"""A whole body in memory as the source of a streamed response, for one that is to be sent at a pace."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from npserver.web.exchange import Exchange

PIECE_BYTES = 32 << 10


class BytesSource:
    """One body being sent. Pieces are copied out of it one by one."""

    __slots__ = ("_body", "_exchange", "_is_paused", "_offset")

    def __init__(self, exchange: Exchange, body: bytes) -> None:
        self._exchange = exchange
        self._body: bytes | None = body
        self._offset = 0
        self._is_paused = False

    def pause(self) -> None:
        """Stop writing until `resume`."""
        self._is_paused = True

    def resume(self) -> None:
        """Continue."""
        self._is_paused = False
        self.copy()

    def cancel(self) -> None:
        """Stop: the client is gone."""
        self._body = None

    def copy(self) -> None:
        """Write until the client's buffer is full, or its bandwidth used up."""
        while self._body is not None and not self._is_paused:
            piece = self._body[self._offset : self._offset + PIECE_BYTES]
            self._offset += PIECE_BYTES
            if piece:
                self._exchange.write(piece)
            else:
                self._body = None
                self._exchange.finish()
