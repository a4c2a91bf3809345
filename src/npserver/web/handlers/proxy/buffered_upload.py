"""The body of a request, kept until it is whole, then sent to the upstream with its length (`request_buffering`).

No target is chosen before, so that slow clients hold no connection of an upstream, and upstreams that read no chunks
(WSGI) get a Content-Length. Made by `web.handlers.proxy.handler`; the counterpart of `web.handlers.proxy.upload`.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol

from npserver.errors import reason_of
from npserver.web.handlers.proxy.spool import Spool

if TYPE_CHECKING:
    from npserver.upstream.client import UpstreamClient
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.proxy.spool import SpoolSettings


#: Why a file cannot grow.
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class BufferingOwner(Protocol):
    """The object to notify of the body's end."""

    def start(self) -> None:
        """Called when the body is whole: choose a target and send the request."""

    def upload_lost(self) -> None:
        """Called when no more of the body will arrive; the exchange is already ending."""

    def upload_failed(self, status: int, reason: str, key: str) -> None:
        """Called when the body could not be kept, or not be read again: answer with the status."""


class BufferedUpload:
    """The body of one request."""

    # client      the connection to the upstream; None between attempts
    # _is_paused  the client has been made to wait for the file
    # _is_over    the body is whole, or no longer wanted

    __slots__ = ("_exchange", "_is_over", "_is_paused", "_key", "_owner", "_spool", "client")

    def __init__(self, exchange: Exchange, owner: BufferingOwner, settings: SpoolSettings) -> None:
        self._exchange = exchange
        self._owner = owner
        self._key = settings.key
        self._spool = Spool(exchange.context, settings, self._spool_changed, keeps=True)
        self._is_paused = self._is_over = False
        self.client: UpstreamClient | None = None

    @property
    def length(self) -> int:
        """The length of the body in bytes."""
        return self._spool.size

    @property
    def is_repeatable(self) -> bool:
        """Whether the request may be sent again: all of its body is kept."""
        return self._exchange.request.is_idempotent

    @property
    def can_resend(self) -> bool:
        """Whether all of the body is kept."""
        return True

    # ── called by the owner ──

    def receive(self) -> None:
        """Start to receive the body."""
        self._exchange.receive(self)

    def send(self, client: UpstreamClient, head: bytes) -> None:
        """Send the head and the body over `client`, after its `begin`."""
        self.client = client
        self._spool.rewind()
        self._send_on(head)

    def continue_received(self) -> None:
        """Ignore 100 Continue, which was not asked for."""

    def hold(self) -> None:
        """Send nothing more over this connection."""
        self.client = None

    def stop(self) -> None:
        """Send nothing more, and free the data kept."""
        self._is_over = True
        self.client = None
        self._spool.close()

    def pause(self) -> None:
        """Wait, as the buffer towards the upstream is full: `_send_on` has seen it."""

    def resume(self) -> None:
        """Send on."""
        self._send_on()

    # ── called by the exchange ──

    def body_data(self, data: bytes) -> None:
        """Called with the next data of the body."""
        if self._is_over:
            return
        self._spool.append(data)
        if not self._is_paused and self._spool.is_full:
            self._is_paused = True
            self._exchange.pause_receiving()

    def body_end(self, trailers: bytes) -> None:
        """Called when the body is complete. Trailers are dropped: a body with a length has none (RFC 9112 §7.1.2)."""
        if not self._is_over:
            self._is_over = True
            self._owner.start()

    def body_lost(self, reason: str) -> None:
        """Called when the client has broken off the body."""
        self._owner.upload_lost()

    # ── private ──

    def _spool_changed(self) -> None:
        error = self._spool.error
        if self._is_over:
            return
        if error is not None:
            self._fail(error)
        elif self._is_paused and not self._spool.is_full:
            self._is_paused = False
            self._exchange.resume_receiving()

    def _fail(self, error: OSError) -> None:
        status = 507 if error.errno in _NO_SPACE else 500
        self._owner.upload_failed(status, f"the request body cannot be kept: {reason_of(error)}", self._key)

    def _send_on(self, data: bytes = b"") -> None:
        try:
            while (client := self.client) is not None and not client.is_request_done:
                data += self._spool.read()
                if self._spool.is_read:
                    client.end(data)
                    return
                client.write(data)
                data = b""
                if client.is_write_paused:
                    return
        except OSError as error:
            self._fail(error)
