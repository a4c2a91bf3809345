"""One stream of a connection that carries many, as the transport of a tunnel: what both ends of HTTP/2 share.

`web.server.http2.stream_transport` is the client's end, `upstream.http2.tunnel` that of a target. Each says how its
stream sends, ends and is reset.
"""

from __future__ import annotations

import asyncio
from typing import Any


class TunnelTransport(asyncio.Transport):
    """The transport of a tunnel, whose protocol is a relay."""

    # _held          received and not passed on yet
    # _is_reading    what comes is passed on
    # _is_lost       the protocol is told that it is closed

    __slots__ = ("_held", "_is_closing", "_is_lost", "_is_reading", "_loop", "_protocol")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._protocol: asyncio.Protocol | None = None
        self._held: list[bytes] = []
        self._is_reading = False
        self._is_closing = False
        self._is_lost = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return nothing: the connection's socket is not the tunnel's."""
        return default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Have a protocol use the tunnel."""
        self._protocol = protocol  # type: ignore[assignment]

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol that uses the tunnel."""
        assert self._protocol is not None
        return self._protocol

    def is_closing(self) -> bool:
        """Whether it is closed, or will be."""
        return self._is_closing or self._is_lost

    def is_reading(self) -> bool:
        """Whether data is passed on."""
        return self._is_reading

    def can_write_eof(self) -> bool:
        """Return that one side can end before the other."""
        return True

    # ── for the ends ──

    def _lose(self, error: Exception | None) -> None:
        """Tell the protocol, once, that the tunnel is closed; not within the call that closes it."""
        if not self._is_lost:
            self._is_lost = True
            self._loop.call_soon(self._tell_lost, error)

    def _tell_lost(self, error: Exception | None) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(error)
