"""What a client has not yet taken of a response, kept so that the upstream is done with it (`response_buffering`).

While the client keeps up, everything is passed on as it arrives. Made by `web.handlers.proxy.call`: it stands in the
exchange's place for the call, and in the call's place, as the source of the response, for the exchange.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from npserver.errors import reason_of
from npserver.web.handlers.proxy.spool import Spool

if TYPE_CHECKING:
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.proxy.spool import SpoolSettings

log = logging.getLogger("npserver.http")


class Sender(Protocol):
    """The call that the response comes from."""

    def pause(self) -> None:
        """Stop to read from the upstream."""

    def resume(self) -> None:
        """Read on."""

    def cancel(self) -> None:
        """The client has gone."""


class ResponseBuffer:
    """The body of one response."""

    # _sender     the call; None once it has ended, so that no reference cycle is left
    # _is_paused  the client's buffer is full
    # _is_held    the sender has been paused
    # _trailers   of the complete response; None until then

    __slots__ = ("_exchange", "_is_held", "_is_paused", "_is_warned", "_key", "_sender", "_spool", "_trailers")

    def __init__(self, exchange: Exchange, sender: Sender, settings: SpoolSettings) -> None:
        self._exchange = exchange
        self._sender: Sender | None = sender
        self._key = settings.key
        self._spool = Spool(exchange.context, settings, self._spool_changed, keeps=False)
        self._is_paused = self._is_held = self._is_warned = False
        self._trailers: bytes | None = None

    # ── called by the call, as if it were the exchange ──

    def write(self, data: bytes) -> None:
        """Pass data on, or keep it until the client has taken what came before."""
        if not self._is_paused and self._spool.is_read:
            self._exchange.write(data)
            return
        self._spool.append(data)
        if not self._is_held and self._sender is not None and self._spool.is_full:
            self._is_held = True
            self._sender.pause()

    def finish(self, trailers: bytes = b"") -> None:
        """The response is complete: the call ends here."""
        self._sender = None
        self._trailers = trailers
        self._write_on()

    def abort(self, reason: str, key: str, *, level: int) -> None:
        """The response has broken off: so does the client's."""
        self._sender = None
        self._spool.close()
        self._exchange.abort(reason, key, level=level)

    # ── called by the exchange, as the source of the response ──

    def pause(self) -> None:
        """Called when the buffer towards the client is full."""
        self._is_paused = True

    def resume(self) -> None:
        """Called when the buffer has room again."""
        self._is_paused = False
        self._write_on()

    def cancel(self) -> None:
        """Called when the client has disconnected."""
        sender, self._sender = self._sender, None
        self._spool.close()
        if sender is not None:
            sender.cancel()

    # ── private ──

    def _write_on(self) -> None:
        try:
            while not self._is_paused and (data := self._spool.read()):
                self._exchange.write(data)
        except OSError as error:
            self.cancel()
            reason = f"the buffered response cannot be read: {reason_of(error)}"
            self._exchange.abort(reason, self._key, level=logging.WARNING)
            return
        if self._trailers is not None and not self._is_paused and self._spool.is_read:
            self._spool.close()
            self._exchange.finish(self._trailers)
        else:
            self._let_on()

    def _let_on(self) -> None:
        if self._is_held and self._sender is not None and not self._spool.is_full:
            self._is_held = False
            self._sender.resume()

    def _spool_changed(self) -> None:
        error = self._spool.error
        if error is not None and not self._is_warned:
            self._is_warned = True
            log.warning(
                "a response of %s is kept in memory alone, and its upstream made to wait: %s (%s)",
                self._exchange.upstream,
                reason_of(error),
                self._key,
            )
        self._let_on()
