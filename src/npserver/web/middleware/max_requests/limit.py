"""The limit on requests in progress: of a rule, and of each client of the rule, counted over all workers.

A request counts from here to its end, whichever it is: the answer is written, the client is gone, an upstream failed, a
WebSocket is closed. A worker that is killed gives its counts back: they stand in its own row of the scoreboard, and
of `limits.in_progress`, which the master clears.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING

from npserver.limits.client_key import client_key
from npserver.limits.in_progress import SETS
from npserver.limits.log_pace import LogPace
from npserver.limits.table import LOCK_S, WAYS
from npserver.web.exchange import Middleware

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.runtime.scoreboard import Row
    from npserver.web.exchange import Exchange
    from npserver.web.middleware.max_requests.config import MaxRequests

RETRY_AFTER = b"Retry-After: 1\r\n"


class RequestsInProgress(Middleware):
    """Lets a request pass if fewer than the limits are in progress, and counts it until its end."""

    def __init__(
        self,
        row: Row,
        section: MaxRequests,
        name: str,
        key: str,
        on_refusal: Callable[[str], None] | None = None,  # called with the address of a client over `per_client`
    ) -> None:
        self._row = row
        self._board = row.board
        self._section = section
        self._name = name
        self._key = key
        self._on_refusal = on_refusal
        self._slot = row.slot(f"gauge.max_requests.{name}")
        self._refused = row.slot(f"max_requests.{name}.refused")
        self._pace = LogPace()

    def __repr__(self) -> str:
        return f"<RequestsInProgress {self._name} {self._board.total(self._slot)}>"

    def request(self, exchange: Exchange) -> None:
        """Count the request until its end, or refuse it."""
        board, section, slot = self._board, self._section, self._slot
        tag = first = 0
        if section.per_client:
            key = f"{self._name}\0{client_key(exchange.client_ip, section.ipv6_prefix)}"
            tag, index = board.rates.address(key.encode("utf-8", "surrogatepass"))
            first = index // (2 * WAYS) % SETS * (2 * WAYS)
        cell = -1
        has_lock = board.rates.acquire(True, LOCK_S)
        try:
            is_full = 0 < section.all <= board.total(slot)
            is_busy = section.per_client and board.in_progress.total(tag, first) >= section.per_client
            if not is_full and not is_busy:
                self._row.slots[slot] += 1
                if section.per_client:
                    cell = board.in_progress.enter(self._row.number, tag, first)
        finally:
            if has_lock:
                board.rates.release()
        if is_full or is_busy:
            self._row.slots[self._refused] += 1
            level = self._pace.level(monotonic_ns())
            if is_full:
                exchange.fail(503, "too many requests at once", self._key, RETRY_AFTER, level=level)
            else:
                if self._on_refusal is not None:
                    self._on_refusal(exchange.client_ip)
                exchange.fail(429, "too many requests of the client at once", self._key, RETRY_AFTER, level=level)
            return
        exchange.watch_end(self._leaving(cell))
        exchange.proceed()

    def _leaving(self, cell: int) -> Callable[[], None]:
        def leave() -> None:
            self._row.slots[self._slot] -= 1
            if cell >= 0:
                self._board.in_progress.leave(cell)

        return leave
