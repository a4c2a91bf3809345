"""Sending the request body to the upstream, with backpressure, and sending it again for another attempt.

Made by `web.handlers.proxy.call` for requests that have a body. It receives the body once for all attempts, and keeps
it in memory while the request may have to be repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from npserver.http.chunked import LAST_CHUNK, chunk
from npserver.http.field_names import fold
from npserver.http.request import CHUNKED
from npserver.runtime.deadlines import NEVER
from npserver.web.grpc_status import is_grpc
from npserver.web.middleware.headers.changes import remove_fields

if TYPE_CHECKING:
    from npserver.upstream.client import UpstreamClient
    from npserver.web.exchange import Exchange
    from npserver.web.middleware.headers.changes import FieldChanges

CONTINUE_S = 1.0  # time to wait for 100 Continue before the body is sent anyway


class UploadOwner(Protocol):
    """The object to notify when the client breaks off its body."""

    def upload_lost(self) -> None:
        """Called when no more of the body will arrive; the exchange is already ending."""


class Upload:
    """The body of one request."""

    # client       the connection to the upstream; None between attempts
    # replay       the data received so far; None if the request cannot be sent again
    # deadline     end of the wait for 100 Continue; checked by the sweeper
    # _unsent      the head of the request, until it is sent with the first data

    __slots__ = (
        "_changes", "_exchange", "_frames_chunks", "_is_done", "_is_receiving", "_limit_bytes", "_owner", "_size",
        "_trailers", "_unsent", "client", "deadline", "replay",
    )  # fmt: skip

    def __init__(
        self, exchange: Exchange, owner: UploadOwner, limit_bytes: int, changes: FieldChanges | None = None
    ) -> None:
        """Create it. `changes` are those of the request's header, which trailers must not undo."""
        self._exchange = exchange
        self._owner = owner
        self._limit_bytes = limit_bytes
        self._changes = changes
        self._frames_chunks = exchange.request.framing is CHUNKED
        self._is_receiving = False
        self._is_done = False
        self._trailers = b""
        self._unsent = b""
        self._size = 0
        self.client: UpstreamClient | None = None
        self.replay: list[bytes] | None = [] if exchange.request.is_idempotent else None
        self.deadline = NEVER

    #: Bytes to announce to the upstream in place of the client's framing: none, the body is passed on as it arrives.
    length: ClassVar[None] = None

    @property
    def is_repeatable(self) -> bool:
        """Whether the request may be sent again, and all of its body that was sent is still in memory."""
        return self.replay is not None and self._exchange.request.is_idempotent

    @property
    def can_resend(self) -> bool:
        """Whether all of the body that was sent is still in memory."""
        return self.replay is not None

    # ── called by the owner ──

    def send(self, client: UpstreamClient, head: bytes) -> None:
        """Send the head and the body received so far over `client`, after its `begin`, then the rest as it arrives."""
        self.client = client
        self._frames_chunks = client.frames_bodies and self._exchange.request.framing is CHUNKED
        if self._is_receiving:
            self._unsent = head
            self._send_again()
        elif self._exchange.request.expects_continue:
            client.write(head)
            self.deadline = self._exchange.context.loop.time() + CONTINUE_S
            self._keep_for(client)
            self._exchange.context.sweeper.watched.add(self)
            return
        else:
            self._unsent = head
            self._is_receiving = True
            self._keep_for(client)
            self._exchange.receive(self)
        if self._unsent and self.client is client:  # no data has arrived yet
            self._unsent = b""
            client.write(head)

    def continue_received(self) -> None:
        """Start to send the body, after 100 Continue."""
        if self.deadline is not NEVER:
            self._stop_waiting()
            if self.client is not None:
                self._is_receiving = True
                self._exchange.receive(self)

    def hold(self) -> None:
        """Stop receiving from the client until there is another connection to the upstream."""
        self._stop_waiting()
        self.client = None
        self._unsent = b""
        if self._is_receiving and not self._is_done:
            self._exchange.pause_receiving()

    def stop(self) -> None:
        """Send nothing more, and free the data kept."""
        self._stop_waiting()
        self.client = None
        self.replay = None
        self._unsent = b""

    def pause(self) -> None:
        """Stop receiving from the client, as the buffer towards the upstream is full."""
        self._exchange.pause_receiving()

    def resume(self) -> None:
        """Resume receiving from the client."""
        self._exchange.resume_receiving()

    # ── called by the exchange ──

    def body_data(self, data: bytes) -> None:
        """Called with the next data of the body."""
        if self.replay is not None:
            self._size += len(data)
            if self._size > self._limit_bytes or (self.client is not None and self.client.is_answered):
                self.replay = None
            else:
                self.replay.append(data)
        if self.client is not None:
            self._write(self.client, data)

    def body_end(self, trailers: bytes) -> None:
        """Called when the body is complete."""
        self._is_done = True
        self._trailers = trailers if self._changes is None else self._changes.clean(trailers)
        if self._trailers and (own := self._exchange.request.block.own):
            self._trailers = remove_fields(self._trailers, lambda name: fold(name) in own)
        if self.client is not None:
            self._write_end(self.client)

    def body_lost(self, reason: str) -> None:
        """Called when the client has broken off the body."""
        self._owner.upload_lost()

    # ── called by the sweeper ──

    def expire(self, now: float) -> None:
        """Send the body without having received 100 Continue in time (RFC 9110 §10.1.1)."""
        self.continue_received()

    # ── private ──

    def _keep_for(self, client: UpstreamClient) -> None:
        """Keep the data for a target that can say that it has not processed the request, whatever its method.

        A gRPC call over HTTP/2 is timed by `upstream.http2.stream`, in both directions together.
        """
        if client.frames_bodies:
            return
        if self.replay is None:
            self.replay = []
        if is_grpc(self._exchange.request):
            self._exchange.allow_silence()

    def _send_again(self) -> None:
        assert self.replay is not None  # else there would be no further attempt
        assert self.client is not None
        if self.replay:
            self._write(self.client, b"".join(self.replay))
        if self._is_done:
            self._write_end(self.client)
        else:
            self._exchange.resume_receiving()

    def _write(self, client: UpstreamClient, data: bytes) -> None:
        if self._frames_chunks:
            data = chunk(data)
        if self._unsent:
            data = self._unsent + data
            self._unsent = b""
        client.write(data)

    def _write_end(self, client: UpstreamClient) -> None:
        data, self._unsent = self._unsent, b""
        if self._frames_chunks:
            data += LAST_CHUNK + self._trailers + b"\r\n"
        client.end(data, self._trailers)

    def _stop_waiting(self) -> None:
        if self.deadline is not NEVER:
            self.deadline = NEVER
            self._exchange.context.sweeper.watched.discard(self)
