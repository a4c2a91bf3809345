"""The heads of requests of which a part has come: how much they hold, and until when they must be complete.

Kept by `web.server.http3.session` for one connection. There is something here only while a client sends a head in
pieces, or refers to entries of the dynamic table that it has not sent yet.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from npserver.runtime.deadlines import NEVER
from npserver.web.server.http3.frames import REQUEST_INCOMPLETE
from npserver.web.server.http3.request_stream import HEAD

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.listen.quic.connection import QuicConnection
    from npserver.web.server.http3.request_stream import RequestStream
    from npserver.web.server.roles import Http3FrontRole

log = logging.getLogger("npserver.http")


class IncompleteHeads:
    """The streams of one connection of which something waits that cannot be read yet."""

    # size      bytes that they hold
    # deadline  of the oldest head; checked by the deadline sweeper
    # _fail     called with a stream whose head is late, and an error code
    # _streams  with the time at which each was here first, in this order

    __slots__ = ("_fail", "_quic", "_streams", "deadline", "size")

    def __init__(self, quic: QuicConnection, fail: Callable[[RequestStream, int], None]) -> None:
        self._quic = quic
        self._fail: Callable[[RequestStream, int], None] | None = fail
        self._streams: dict[int, tuple[RequestStream, float]] = {}
        self.deadline = NEVER
        self.size = 0

    def note(self, stream: RequestStream) -> None:
        """Something of a stream has come, and what is complete has been read."""
        held = len(stream.buffer) + stream.blocked
        self.size += held - stream.held
        stream.held = held
        if not held and stream.state != HEAD:
            if self._streams:
                self._forget(stream)
        elif stream.id not in self._streams:
            now = self._quic.context.loop.time()
            self._streams[stream.id] = stream, now
            if len(self._streams) == 1:
                self.deadline = now + self._limit_s
                self._quic.context.sweeper.watched.add(self)

    def expire(self, now: float) -> None:
        """Called by the deadline sweeper: reset the streams whose head has taken too long."""
        limit_s = self._limit_s
        client = self._quic.paths.peer[0]
        for stream in [one for one, began in self._streams.values() if one.state == HEAD and began + limit_s <= now]:
            log.info("resetting a stream of %s: request head not complete in time (timeouts.header)", client)
            if self._fail is not None:
                self._fail(stream, REQUEST_INCOMPLETE)
        began_s = [began for one, began in self._streams.values() if one.state == HEAD]
        self.deadline = min(began_s, default=now) + limit_s
        self._quic.flush_soon()

    def close(self) -> None:
        """Forget all: the connection is lost."""
        self._fail = None
        self._streams.clear()
        self._quic.context.sweeper.watched.discard(self)

    @property
    def _limit_s(self) -> float:
        return cast("Http3FrontRole", self._quic.listener.front).http.timeouts.header

    def _forget(self, stream: RequestStream) -> None:
        if self._streams.pop(stream.id, None) is not None and not self._streams:
            self._quic.context.sweeper.watched.discard(self)
