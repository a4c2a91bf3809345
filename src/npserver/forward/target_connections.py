"""The target side of a datagram session: a datagram socket, or a stream on which `forward.framing` delimits messages.

`forward.datagrams` creates one per session, which is its `SessionOwner`. Datagrams that arrive before the target is
connected are held by the session and sent in order; datagrams for which a stream has no room are dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, cast

from npserver.errors import UpstreamError
from npserver.forward.framing import MAX_LENGTHS, FramingError, MessageDecoder, encoder
from npserver.forward.target_socket import TargetSocket
from npserver.net.dialer import dial
from npserver.runtime.tasks import spawn

if TYPE_CHECKING:
    from npserver.forward.session import Session

log = logging.getLogger("npserver.forward")

TURN = 256  # messages relayed before other connections get their turn


class SessionOwner(Protocol):
    """A datagram session as its target connection sees it."""

    session: Session
    #: Sends a datagram of the client to the target; the connection replaces it once it is open.
    send: Callable[[bytes], object]

    def answer(self, data: bytes) -> None:
        """Send a datagram from the target to the client."""

    def release_held(self) -> list[bytes]:
        """Return the datagrams held until now, and hold none from now on."""

    def make_room(self) -> bool:
        """End another session to free a file descriptor; return whether there was one."""

    def end(self, reason: str) -> None:
        """End the session."""


class DatagramTargetConnection:
    """The connection of a session to a datagram target."""

    __slots__ = ("_owner", "_socket")

    def __init__(self, owner: SessionOwner) -> None:
        self._owner = owner
        self._socket = TargetSocket(
            owner.session, answer=owner.answer, opened=self._opened, lost=owner.end, make_room=owner.make_room
        )

    def open(self) -> None:
        """Connect to a target."""
        self._socket.open()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def not_sent(self, data: bytes, error: OSError) -> None:
        """Handle an error of `SessionOwner.send`: send again where that can help, else drop the datagram."""
        self._socket.not_sent(data, error)

    def _opened(self) -> None:
        for data in self._owner.release_held():
            self._socket.send(data)
        self._owner.send = self._socket.raw_send()


class StreamTargetConnection(asyncio.Protocol):
    """The connection of a session to a stream target; it is the asyncio protocol of that stream."""

    __slots__ = ("_decoder", "_dialing", "_encode", "_is_closed", "_is_full", "_max_length", "_owner", "_preface",
                 "_reason", "_transport")  # fmt: skip

    def __init__(self, owner: SessionOwner) -> None:
        settings = owner.session.forward.settings
        self._owner = owner
        self._decoder = MessageDecoder(settings.rule.framing, settings.max_message_size)
        self._encode = encoder(settings.rule.framing)
        self._max_length = min(MAX_LENGTHS[settings.rule.framing], settings.max_message_size)
        self._transport: asyncio.Transport | None = None
        self._dialing: asyncio.Task[None] | None = None
        self._is_full = False
        self._is_closed = False
        self._reason = ""
        self._preface = b""

    # ── called by the session ──

    def open(self) -> None:
        """Connect to a target."""
        self._dialing = spawn(self._dial(), "forwarding datagrams to a stream", self._dial_failed)

    def close(self) -> None:
        """Close the stream if all datagrams have been written; abort it if the target has not read them by now."""
        self._is_closed = True
        if self._dialing is not None:
            self._dialing.cancel()
        if (transport := self._transport) is not None:
            if transport.get_write_buffer_size():
                transport.abort()
            else:
                transport.close()

    def not_sent(self, data: bytes, error: OSError) -> None:
        """Do nothing: a stream reports its failures in `connection_lost`."""

    def _send(self, data: bytes) -> None:
        if self._is_full or len(data) > self._max_length or self._transport is None:
            return
        self._transport.write(self._encode(data))

    # ── called by asyncio ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio when the target is connected: send the held datagrams."""
        owner = self._owner
        self._transport = target = cast("asyncio.Transport", transport)
        if self._is_closed:
            target.close()
            return
        target.set_write_buffer_limits(owner.session.forward.settings.rule.buffer_size)
        if self._preface:
            target.write(self._preface)
        for data in owner.release_held():
            self._send(data)
        owner.send = self._send

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with bytes from the target: send each complete message to the client."""
        self._decoder.feed(data)
        self._answer_turn()

    def eof_received(self) -> None:
        """Called by asyncio when the target has sent all: send a last line that has no line feed, then close."""
        if rest := self._decoder.rest():
            self._owner.answer(rest)

    def pause_writing(self) -> None:
        """Called by asyncio when the write buffer passes its high-water mark: drop further datagrams."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Called by asyncio when the write buffer has drained below its low-water mark."""
        self._is_full = False

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio when the stream has closed: end the session. The client's next datagram opens a new one."""
        self._transport = None
        if self._dialing is None or not self._is_closed:
            self._owner.end(self._reason or ("closed by target" if error is None else "reset by target"))

    # ── private ──

    def _answer_turn(self) -> None:
        transport = self._transport
        if transport is None or self._is_closed:
            return
        try:
            messages = self._decoder.messages(TURN)
        except FramingError as error:
            log.warning(
                "%s: closing the session: target sent a %s (max_message_size)",
                self._owner.session.forward.settings.name,
                error,
            )
            self._reason = f"bad framing: {error}"
            transport.abort()
            return
        for message in messages:
            self._owner.answer(message)
        if len(messages) == TURN:
            transport.pause_reading()
            self._owner.session.forward.context.loop.call_soon(self._answer_turn)
        else:
            transport.resume_reading()

    def _dial_failed(self, error: BaseException) -> None:
        """Called when connecting has ended with an unexpected exception: end the session."""
        self._dialing = None
        if not self._is_closed:
            self._owner.session.unreachable("internal error")
            self._owner.end("internal error")

    async def _dial(self) -> None:
        session = self._owner.session
        reason = "no target is available"
        while (target := session.next_target()) is not None:
            header = session.proxy_header()
            self._preface = header if target.tls is None else b""  # a PROXY header precedes the TLS handshake
            try:
                await dial(
                    session.forward.context,
                    target.address,
                    lambda: self,
                    timeout_s=session.forward.settings.rule.connect_timeout,
                    tls=target.tls,
                    server_name=target.server_name,
                    preface=header,
                )
            except UpstreamError as error:
                session.target_failed(str(error))
                reason = str(error)
                continue
            session.target_reached()
            self._dialing = None
            return
        self._dialing = None
        session.unreachable(reason)
        self._owner.end("target unreachable")
