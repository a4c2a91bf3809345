"""Where a datagram session's datagrams go: a datagram socket, or a stream that keeps their boundaries by `framing`.

What comes before the way is open is held, in order and bounded; what a full stream cannot take is dropped, as any
datagram may be.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

from npserver.errors import UpstreamError
from npserver.forward.datagram_target import DatagramTarget
from npserver.forward.framing import MAX_LENGTHS, Decoder, FramingError, encoder
from npserver.net.dialer import dial
from npserver.runtime.tasks import spawn

if TYPE_CHECKING:
    from npserver.forward.datagrams import DatagramSession

log = logging.getLogger("npserver.forward")

TURN = 256  # messages passed on before others get their turn


class DatagramLinkage:
    """A session's way to a datagram target."""

    __slots__ = ("_session", "_target")

    def __init__(self, session: DatagramSession) -> None:
        self._session = session
        self._target = DatagramTarget(
            session.session,
            answer=session.answer,
            opened=self._opened,
            lost=session.end,
            make_room=lambda: session.table.evict(session),
        )

    def open(self) -> None:
        """Connect."""
        self._target.open()

    def close(self) -> None:
        """Release the socket."""
        self._target.close()

    def not_sent(self, data: bytes, error: OSError) -> None:
        """`session.send` failed: try again where that helps, else it is lost, as datagrams may be."""
        self._target.not_sent(data, error)

    def _opened(self) -> None:
        for data in self._session.release_held():
            self._target.send(data)
        self._session.send = self._target.raw_send()


class StreamLinkage(asyncio.Protocol):
    """A session's way to a stream target, and that connection's protocol."""

    __slots__ = ("_decoder", "_dialing", "_encode", "_is_closed", "_is_full", "_max_length", "_preface", "_reason",
                 "_session", "_transport")  # fmt: skip

    def __init__(self, session: DatagramSession) -> None:
        settings = session.session.forward.settings
        self._session = session
        self._decoder = Decoder(settings.framing, settings.max_message_size)
        self._encode = encoder(settings.framing)
        self._max_length = min(MAX_LENGTHS[settings.framing], settings.max_message_size)
        self._transport: asyncio.Transport | None = None
        self._dialing: asyncio.Task[None] | None = None
        self._is_full = False
        self._is_closed = False
        self._reason = ""
        self._preface = b""

    # ── called by the session ──

    def open(self) -> None:
        """Connect."""
        self._dialing = spawn(self._dial(), "forwarding datagrams to a stream")

    def close(self) -> None:
        """Let the target have what was sent, then close; a target that has not taken it by now never will."""
        self._is_closed = True
        if self._dialing is not None:
            self._dialing.cancel()
        if (transport := self._transport) is not None:
            if transport.get_write_buffer_size():
                transport.abort()
            else:
                transport.close()

    def not_sent(self, data: bytes, error: OSError) -> None:
        """A stream reports its failures in `connection_lost`."""

    def _send(self, data: bytes) -> None:  # hot: forward.udp_tcp
        if self._is_full or len(data) > self._max_length or self._transport is None:
            return
        self._transport.write(self._encode(data))

    # ── called by the loop ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The target is there: send what was held."""
        session = self._session
        self._transport = target = cast("asyncio.Transport", transport)
        if self._is_closed:
            target.close()
            return
        target.set_write_buffer_limits(session.session.forward.settings.buffer_size)
        if self._preface:
            target.write(self._preface)
        for data in session.release_held():
            self._send(data)
        session.send = self._send

    def data_received(self, data: bytes) -> None:
        """Answer the client with what is complete."""
        self._decoder.feed(data)
        self._answer_turn()

    def eof_received(self) -> None:
        """The target has sent all: a last line may be incomplete; then the connection closes."""
        if rest := self._decoder.rest():
            self._session.answer(rest)

    def pause_writing(self) -> None:
        """The target takes less than the client sends."""
        self._is_full = True

    def resume_writing(self) -> None:
        """The target has caught up."""
        self._is_full = False

    def connection_lost(self, error: Exception | None) -> None:
        """The target is gone: the client's next datagram begins a new session."""
        self._transport = None
        if self._dialing is None or not self._is_closed:
            self._session.end(self._reason or ("closed by target" if error is None else "reset by target"))

    # ── private ──

    def _answer_turn(self) -> None:
        transport = self._transport
        if transport is None or self._is_closed:
            return
        try:
            messages = self._decoder.messages(TURN)
        except FramingError as error:
            log.warning("%s: target sent a %s (max_message_size)", self._session.session.forward.settings.name, error)
            self._reason = f"bad framing: {error}"
            transport.abort()
            return
        for message in messages:
            self._session.answer(message)
        if len(messages) == TURN:
            transport.pause_reading()
            self._session.session.forward.context.loop.call_soon(self._answer_turn)
        else:
            transport.resume_reading()

    async def _dial(self) -> None:
        session = self._session.session
        reason = "none is usable"
        while (target := session.next_target()) is not None:
            header = session.proxy_header()
            self._preface = header if target.tls is None else b""  # it goes ahead of TLS
            try:
                await dial(
                    session.forward.context,
                    target.address,
                    lambda: self,
                    timeout_s=session.forward.settings.connect_timeout_s,
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
        self._session.end("target unreachable")
