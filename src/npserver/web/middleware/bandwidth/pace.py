"""Sends the answers of a rule at a pace: each at its own, and those to one client at one that they share.

Nothing is kept back: a piece is sent, and then its source (a file, an upstream) waits until the piece may have been
sent at the bandwidth. A client that is ahead when it asks again, after small answers, waits for the next.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING, ClassVar

from npserver.limits.client_key import client_key
from npserver.web.exchange import Middleware, ResponseFilter

if TYPE_CHECKING:
    import asyncio

    from npserver.limits.byte_account import ByteAccount
    from npserver.runtime.scoreboard import Row
    from npserver.web.exchange import Exchange, ResponseSource, ResponseStart
    from npserver.web.middleware.bandwidth.config import Bandwidth

SHORTEST_NS = 10_000_000  # nobody waits for less: a wait is a timer


class PacedAnswers(Middleware):
    """The bandwidth of a rule. `account`: of its clients, if they have one; `waits`: the slot in which waits count."""

    def __init__(self, section: Bandwidth, account: ByteAccount | None, row: Row, waits: int) -> None:
        self.section = section
        self._account = account
        self._row = row
        self._waits = waits

    def request(self, exchange: Exchange) -> None:
        """Let the request pass, once its client is no longer ahead."""
        wait = self.charge(exchange, 0)
        if wait > SHORTEST_NS:
            self.count_wait()
            exchange.context.loop.call_later(wait / 10**9, exchange.proceed)
        else:
            exchange.proceed()

    def response(self, exchange: Exchange) -> PacedResponse:
        """Return the filter of one response."""
        return PacedResponse(self, exchange)

    def charge(self, exchange: Exchange, count: int) -> int:
        """Count bytes sent to a client. Return the nanoseconds for which it is ahead; 0 without `per_client`."""
        if self._account is None:
            return 0
        return self._account.charge(client_key(exchange.client_ip, self.section.ipv6_prefix), count)

    def count_wait(self) -> None:
        """Count a wait."""
        self._row.slots[self._waits] += 1


class PacedResponse(ResponseFilter):
    """The pace of one response."""

    # _source      stands between the exchange and the response's own source; None before the first wait
    # _free_bytes  still to be sent before the answer's own bandwidth counts
    # _time        when all that has been sent may have been sent, in nanoseconds

    is_paced: ClassVar[bool] = True

    __slots__ = ("_exchange", "_free_bytes", "_rate", "_source", "_time")

    def __init__(self, rate: PacedAnswers, exchange: Exchange) -> None:
        self._rate = rate
        self._exchange = exchange
        self._free_bytes: int = rate.section.after
        self._time = 0
        self._source: PacedSource | None = None

    def start(self, head: ResponseStart) -> bool:
        """Have the body pass."""
        return True

    def data(self, data: bytes) -> bytes:
        """Let a piece pass, and its source wait for as long as it takes at the bandwidth."""
        wait = max(self._own_wait(len(data)), self._rate.charge(self._exchange, len(data)))
        if wait > SHORTEST_NS:
            exchange, source = self._exchange, self._source
            if source is None and exchange.source is not None:
                source = self._source = exchange.source = PacedSource(exchange.source)
            if source is not None and source.wait(exchange.context.loop, wait / 10**9):
                self._rate.count_wait()
        return data

    def end(self, trailers: bytes) -> tuple[bytes, bytes]:
        """The body is complete."""
        self.cancel()
        return b"", trailers

    def cancel(self) -> None:
        """The response is over."""
        if self._source is not None:
            self._source.leave()
            self._source = None

    def _own_wait(self, count: int) -> int:
        bytes_per_s = self._rate.section.per_answer
        counted = max(count - self._free_bytes, 0)
        self._free_bytes = max(self._free_bytes - count, 0)
        if not bytes_per_s or not counted:
            return 0
        now = monotonic_ns()
        self._time = max(self._time, now) + counted * 10**9 // bytes_per_s
        return self._time - now


class PacedSource:
    """Stands between an exchange and the source of its response, which waits for the client or for the bandwidth."""

    # _is_blocked   the client's buffer is full
    # _timer        runs while the source waits for the bandwidth

    __slots__ = ("_is_blocked", "_source", "_timer")

    def __init__(self, source: ResponseSource) -> None:
        self._source: ResponseSource | None = source
        self._is_blocked = False
        self._timer: asyncio.TimerHandle | None = None

    def wait(self, loop: asyncio.AbstractEventLoop, wait_s: float) -> bool:
        """Have the source wait. Return whether it has not waited already."""
        if self._timer is not None or self._source is None:
            return False
        self._timer = loop.call_later(wait_s, self._go_on)
        self._source.pause()
        return True

    def leave(self) -> None:
        """Leave the source alone: the response is over."""
        self._source = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go_on(self) -> None:
        self._timer = None
        if self._source is not None and not self._is_blocked:
            self._source.resume()

    # ── called by the exchange ──

    def pause(self) -> None:
        """Called when the buffer towards the client is full."""
        self._is_blocked = True
        if self._timer is None and self._source is not None:
            self._source.pause()

    def resume(self) -> None:
        """Called when the buffer has room again."""
        self._is_blocked = False
        if self._timer is None and self._source is not None:
            self._source.resume()

    def cancel(self) -> None:
        """Called when the client is gone."""
        source = self._source
        self.leave()
        if source is not None:
            source.cancel()
