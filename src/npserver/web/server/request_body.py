"""The part of a request's body that both versions of HTTP share: what is held, who takes it, and how much it may be."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Generic, TypeVar

from npserver.errors import BadRequest

if TYPE_CHECKING:
    from npserver.web.exchange import BodySink
    from npserver.web.server.roles import Http1ExchangeRole, Http2ExchangeRole

log = logging.getLogger("npserver.http")

E = TypeVar("E", "Http1ExchangeRole", "Http2ExchangeRole")


class RequestBody(Generic[E]):
    """The rest of a request's body, and the sink that takes it."""

    # done             all of it has been received
    # received         bytes of it so far
    # is_continue_due  the client waits for 100 (Continue)
    # _lost_reason     why the rest will not come; "" while it may
    # _held            received before there was a sink, or while the sink had paused

    __slots__ = (
        "_exchange",
        "_held",
        "_is_paused",
        "_limit",
        "_lost_reason",
        "_sink",
        "done",
        "is_continue_due",
        "received",
    )

    def __init__(self, exchange: E) -> None:
        self._exchange: E = exchange
        self._limit = exchange.route.max_body_size
        self._sink: BodySink | None = None
        self._held: list[bytes] = []
        self._is_paused = False
        self._lost_reason = ""
        self.is_continue_due = exchange.request.expects_continue
        self.done = False
        self.received = 0

    @property
    def trailers(self) -> bytes:
        """The trailer section, once the body is done; lines with their ends."""
        return b""

    def check_length(self) -> None:
        """Refuse a body whose Content-Length is over the limit, before any of it is read. Raises: BadRequest (413)."""
        if self._exchange.request.length > self._limit:
            raise BadRequest(
                f"request body of {self._exchange.request.length} bytes", 413, self._exchange.route.max_body_key
            )

    def _count(self, size: int) -> None:
        """Count bytes received. Raises: BadRequest (413)."""
        self.received += size
        if self.received > self._limit:
            raise BadRequest("request body too large", 413, self._exchange.route.max_body_key)

    def _deliver(self) -> None:
        """Give the sink the pieces held, and the end."""
        sink = self._sink
        if sink is None:
            return
        if self._lost_reason:
            self._sink = None
            sink.body_lost(self._lost_reason)
            return
        try:
            if self._held:
                pieces, self._held = self._held, []
                sink.body_data(b"".join(pieces) if len(pieces) > 1 else pieces[0])
                if not self._is_paused:
                    self._taken()
            if self.done and self._sink is not None and not self._held:
                self._sink = None
                sink.body_end(self.trailers)
        except Exception:
            log.exception("error in %s", self._exchange.route.name)
            self._exchange.break_off()

    def _taken(self) -> None:
        """Called when the sink has taken all that was held."""

    def lose(self, reason: str) -> None:
        """Tell the sink that the rest will not come; one that asks for it later is told then."""
        self._lost_reason = self._lost_reason or reason
        sink, self._sink = self._sink, None
        self._held.clear()
        if sink is not None:
            sink.body_lost(reason)
