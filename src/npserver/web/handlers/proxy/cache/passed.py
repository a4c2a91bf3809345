"""A request that the cache leaves to the upstream: its exchange, to which only the response's Cache-Status is added.

A request that may change something removes the stored response of its URI once it has succeeded (RFC 9111 §4.4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npserver.web.exchange import Exchange, ResponseSource

_OWN = frozenset({"_exchange", "_fields", "_invalidate"})


class PassedExchange:
    """An exchange, with `Cache-Status` in its response."""

    def __init__(self, exchange: Exchange, fields: bytes, invalidate: Callable[[], None] | None) -> None:
        self._exchange = exchange
        self._fields = fields
        self._invalidate = invalidate

    def __repr__(self) -> str:
        return f"<PassedExchange {self._exchange!r}>"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    def __setattr__(self, name: str, value: object) -> None:
        if name in _OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self._exchange, name, value)

    def respond(self, status: int, fields: bytes = b"", body: bytes = b"") -> None:
        """Answer whole."""
        self._succeeded(status)
        self._exchange.respond(status, fields + self._fields, body)

    def start(self, status: int, fields: bytes, length: int | None, source: ResponseSource | None) -> None:
        """Begin a streamed response."""
        self._succeeded(status)
        self._exchange.start(status, fields + self._fields, length, source)

    def _succeeded(self, status: int) -> None:
        if self._invalidate is not None and status < 400:
            self._invalidate()
