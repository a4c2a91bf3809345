"""Forward a stream to datagrams: TCP, TLS or Unix streams in, UDP or Unix datagrams out.

Each connection has its own connected datagram socket, so that the target's datagrams return to the right client.
`forward.framing` delimits the messages on the stream; with `raw`, each read is sent as one datagram. The client is read
in turns with other connections, and only as fast as the kernel accepts datagrams.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from npserver.forward.framing import MAX_LENGTHS, FramingError, MessageDecoder, encoder
from npserver.forward.session import endpoint_of
from npserver.forward.target_socket import TargetSocket

if TYPE_CHECKING:
    from npserver.forward.session import Endpoint, Forward, Session
    from npserver.runtime.front import Live

log = logging.getLogger("npserver.forward")

TURN = 256  # messages sent before other connections get their turn
ANSWER_S = 2.0  # idle timeout after the client has half-closed: long enough for the target's last datagrams


class MessageForward:
    """The front of a stream listener whose messages are sent to datagram targets."""

    def __init__(self, forward: Forward) -> None:
        self.forward = forward

    def __repr__(self) -> str:
        return f"<MessageForward {self.forward!r}>"

    def accept(self, live: Live, alpn: str | None = None) -> asyncio.Protocol:
        """Create the protocol of a new connection."""
        return MessageConnection(self.forward, live)

    def close(self) -> None:
        """Do nothing: open connections continue after a reload."""


class MessageConnection(asyncio.Protocol):
    """A client's connection and its datagram socket."""

    __slots__ = ("__weakref__", "_decoder", "_encode", "_is_at_eof", "_is_over", "_max_length", "_reason", "_received",
                 "_sent", "_target", "_timeout_s", "_unsent", "context", "deadline", "forward", "listener",
                 "proxied_from", "session", "transport")  # fmt: skip

    transport: asyncio.Transport
    awaits_request = False

    def __init__(self, forward: Forward, listener: Live) -> None:
        settings = forward.settings
        self.forward = forward
        self.listener = listener
        self.context = forward.context
        self.deadline = float("inf")
        self.session: Session | None = None
        self.proxied_from: tuple[Endpoint, Endpoint] | None = None
        self._timeout_s = settings.timeout_s
        self._decoder = MessageDecoder(settings.rule.framing, settings.max_message_size)
        self._encode = encoder(settings.rule.framing)
        self._max_length = MAX_LENGTHS[settings.rule.framing]
        self._target: TargetSocket | None = None
        self._unsent: list[bytes] = []
        self._is_at_eof = False
        self._is_over = False
        self._reason = ""
        self._received = 0
        self._sent = 0

    def __repr__(self) -> str:
        return f"<MessageConnection {self.session!r}>"

    # ── the client's side, called by asyncio ──

    def proxied(self, source: Endpoint, destination: Endpoint) -> None:
        """Take the addresses of a PROXY header; called before `connection_made`."""
        self.proxied_from = (source, destination)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio for a new client: open its session and its datagram socket."""
        self.transport = transport  # type: ignore[assignment]
        client, local = self.proxied_from or (endpoint_of(transport, "peername"), None)
        self.session = session = self.forward.open(self.listener, client, local)
        if session is None:
            self.transport.abort()
            return
        session.transport = transport
        self.transport.set_write_buffer_limits(self.forward.settings.rule.buffer_size)
        self.context.connections.add(self)
        self.context.sweeper.watched.add(self)
        self._touch()
        self._target = TargetSocket(session, answer=self._answer, opened=self._send_turn, lost=self._end)
        self._target.open()

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with the client's bytes: send each complete message as a datagram."""
        self._received += len(data)
        self._touch()
        self._decoder.feed(data)
        self._send_turn()

    def eof_received(self) -> bool:
        """Called by asyncio when the client half-closes: send the rest, then wait `ANSWER_S` for answers."""
        self._is_at_eof = True
        self._timeout_s = min(self._timeout_s, ANSWER_S)
        self._touch()
        self._send_turn()
        return self.transport.can_write_eof()

    def pause_writing(self) -> None:
        """Called by asyncio when the write buffer passes its high-water mark: stop reading from the target.

        The kernel then drops the target's datagrams once its receive buffer is full.
        """
        if self._target is not None:
            self._target.pause()

    def resume_writing(self) -> None:
        """Called by asyncio when the write buffer has drained below its low-water mark: read from the target again."""
        if self._target is not None:
            self._target.resume()

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio when the client's connection has closed: end the session."""
        self._is_over = True
        self.context.connections.discard(self)
        self.context.sweeper.watched.discard(self)
        if self._target is not None:
            self._target.close()
        if self.session is not None:
            reason = self._reason or ("closed by client" if error is None else "reset by client")
            self.session.end(self.listener.listener.address.scheme, self._received, self._sent, reason)

    def expire(self, now: float) -> None:
        """Close a connection that was idle for its timeout; called by the deadline sweeper."""
        self._end("closed by client" if self._is_at_eof else "timeout")
        self.deadline = float("inf")

    def shut_down(self) -> None:
        """Close at shutdown if the client has half-closed and all is sent; else continue until `timeouts.shutdown`."""
        if self._is_at_eof and not self._unsent:
            self._end("shutdown")

    def abort(self, reason: str) -> None:
        """Close the connection immediately; `reason` is for the log."""
        self._reason = self._reason or reason
        self.transport.abort()

    # ── relaying ──

    def _answer(self, data: bytes) -> None:
        """Write a datagram from the target to the client."""
        self._touch()
        if len(data) <= self._max_length and not self.transport.is_closing():
            wire = self._encode(data)
            self._sent += len(wire)
            self.transport.write(wire)

    def _send_turn(self) -> None:
        """Send at most `TURN` messages; if some are left, pause reading and continue later."""
        target = self._target
        if target is None or self._is_over or self.transport.is_closing():
            return
        messages, self._unsent = self._unsent, []
        try:
            messages += self._decoder.messages(TURN)
        except FramingError as error:
            log.debug("%s: %s: %s", self.forward.settings.name, self.session, error)
            self._end(f"bad framing: {error}")
            return
        is_last = len(messages) < TURN
        if is_last and self._is_at_eof and (rest := self._decoder.rest()):
            messages.append(rest)
        for index, message in enumerate(messages):
            if not target.send(message):
                self._unsent = messages[index:]
                self.transport.pause_reading()
                target.when_writable(self._send_turn)
                return
        if not is_last:
            self.transport.pause_reading()
            self.context.loop.call_soon(self._send_turn)
        elif not self._is_at_eof:
            self.transport.resume_reading()

    def _end(self, reason: str) -> None:
        self._reason = self._reason or reason
        self.transport.close()

    def _touch(self) -> None:
        self.deadline = self.context.loop.time() + self._timeout_s
