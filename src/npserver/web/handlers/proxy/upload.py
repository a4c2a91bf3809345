"""A request's body on its way to the upstream: framed anew, slowed down where that is slow, sent again if need be.

Made by `web.handlers.proxy.call` for requests that have a body. It takes the body once for all attempts and keeps what
has come while the request might have to be repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from npserver.http.chunked import LAST_CHUNK, chunk
from npserver.http.request import CHUNKED
from npserver.runtime.deadlines import NEVER

if TYPE_CHECKING:
    from npserver.upstream.http1 import HttpClient
    from npserver.web.exchange import Exchange

CONTINUE_S = 1.0  # how long an upstream may take to say 100 Continue before the body is sent all the same


class UploadOwner(Protocol):
    """Who is told that the client broke off."""

    def upload_lost(self) -> None:
        """No more of the body will come; the exchange is being ended already."""


class Upload:
    """The body of one request."""

    # client       the connection it goes to, None between attempts
    # replay       the pieces so far, while the request might be sent again; None: it cannot
    # deadline     until when 100 Continue is waited for; watched by the sweeper
    # _unsent      the request's head, until it goes out with the first piece

    __slots__ = (
        "_exchange", "_is_chunked", "_is_done", "_is_receiving", "_limit_bytes", "_owner", "_size", "_trailers",
        "_unsent", "client", "deadline", "replay",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, owner: UploadOwner, limit_bytes: int) -> None:
        self._exchange = exchange
        self._owner = owner
        self._limit_bytes = limit_bytes
        self._is_chunked = exchange.request.framing is CHUNKED
        self._is_receiving = False
        self._is_done = False
        self._trailers = b""
        self._unsent = b""
        self._size = 0
        self.client: HttpClient | None = None
        self.replay: list[bytes] | None = [] if exchange.request.is_idempotent else None
        self.deadline = NEVER

    # ── called by the owner ──

    def send(self, client: HttpClient, head: bytes) -> None:
        """Send the head and what there is of the body over `client`, which has begun; go on with what comes."""
        self.client = client
        if self._is_receiving:
            self._unsent = head
            self._send_again()
        elif self._exchange.request.expects_continue:
            client.write(head)
            self.deadline = self._exchange.context.loop.time() + CONTINUE_S
            self._exchange.context.sweeper.watched.add(self)
            return
        else:
            self._unsent = head
            self._is_receiving = True
            self._exchange.receive(self)
        if self._unsent and self.client is client:  # nothing has come yet
            self._unsent = b""
            client.write(head)

    def go_on(self) -> None:
        """The upstream has said 100 Continue."""
        if self.deadline is not NEVER:
            self._stop_waiting()
            if self.client is not None:
                self._is_receiving = True
                self._exchange.receive(self)

    def hold(self) -> None:
        """The connection is gone: make the client wait until there is another one."""
        self._stop_waiting()
        self.client = None
        self._unsent = b""
        if self._is_receiving and not self._is_done:
            self._exchange.pause_receiving()

    def stop(self) -> None:
        """Nothing more is to be sent."""
        self._stop_waiting()
        self.client = None
        self.replay = None
        self._unsent = b""

    def pause(self) -> None:
        """The upstream does not keep up."""
        self._exchange.pause_receiving()

    def resume(self) -> None:
        """It does again."""
        self._exchange.resume_receiving()

    # ── called by the exchange ──

    def body_data(self, data: bytes) -> None:
        """A piece of the body."""
        if self.replay is not None:
            self._size += len(data)
            if self._size > self._limit_bytes:
                self.replay = None
            else:
                self.replay.append(data)
        if self.client is not None:
            self._write(self.client, data)

    def body_end(self, trailers: bytes) -> None:
        """The body is complete."""
        self._is_done = True
        self._trailers = trailers
        if self.client is not None:
            self._write_end(self.client)

    def body_lost(self, reason: str) -> None:
        """The client broke off."""
        self._owner.upload_lost()

    # ── called by the sweeper ──

    def expire(self, now: float) -> None:
        """No 100 Continue has come in time: send the body all the same (RFC 9110 §10.1.1)."""
        self.go_on()

    # ── private ──

    def _send_again(self) -> None:
        assert self.replay is not None  # else there would be no further attempt
        assert self.client is not None
        if self.replay:
            self._write(self.client, b"".join(self.replay))
        if self._is_done:
            self._write_end(self.client)
        else:
            self._exchange.resume_receiving()

    def _write(self, client: HttpClient, data: bytes) -> None:
        if self._is_chunked:
            data = chunk(data)
        if self._unsent:
            data = self._unsent + data
            self._unsent = b""
        client.write(data)

    def _write_end(self, client: HttpClient) -> None:
        data, self._unsent = self._unsent, b""
        if self._is_chunked:
            data += LAST_CHUNK + self._trailers + b"\r\n"
        client.end(data)

    def _stop_waiting(self) -> None:
        if self.deadline is not NEVER:
            self.deadline = NEVER
            self._exchange.context.sweeper.watched.discard(self)
