"""Base class of client connections that carry many requests at once: HTTP/2 and HTTP/3.

The base of `web.server.http2.connection` and `web.server.http3.connection`, which own the session and the transport.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ClassVar

from npserver.http.http2_allowance import Allowance
from npserver.http.http2_fields import field_list, trailer_lines
from npserver.web.server.client_connection import ClientConnection
from npserver.web.server.http2.unread import UNREAD
from npserver.web.server.refusals import refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.errors import BadRequest
    from npserver.http.request import Fields, Request
    from npserver.runtime.front import Live
    from npserver.web.server.roles import FrontRole, StreamRole, StreamSession

log = logging.getLogger("npserver.http")

MAX_CUT_UPLOADS = 16  # requests answered before they were complete; then GOAWAY asks for a new connection


class StreamConnection(ClientConnection):
    """A client's connection with a stream for each request."""

    # streams      exchanges of streams that are not closed yet
    # is_leaving   no new streams are served; the connection closes when the present ones have ended
    # is_ended     nothing is served any more; what still comes is dropped
    # unread       see `web.server.http2.unread`
    # _sending     exchanges of which something may wait that the client has not read
    # _resets      allowance for streams that the client resets
    # _controls    allowance for frames that carry no request

    __slots__ = (
        "_all_unread", "_controls", "_cut_uploads", "_resets", "_sending", "is_ended", "is_leaving", "session",
        "streams", "unread",
    )  # fmt: skip

    FLOOD_CODE: ClassVar[int]  # the error code of a connection that is closed for a flood

    session: StreamSession

    def __init__(self, listener: Live, front: FrontRole) -> None:
        super().__init__(listener)
        self.front = front
        limits, now = front.limits, self.context.sweeper.now
        self.streams: dict[int, StreamRole] = {}
        self.is_leaving = False
        self.is_ended = False
        self.unread = 0
        self._all_unread = UNREAD.of(self.context)
        self._sending: set[StreamRole] = set()
        self._cut_uploads = 0
        self._resets = Allowance(limits.max_resets, now)
        self._controls = Allowance(limits.max_control_frames, now)

    def __repr__(self) -> str:
        state = "ended" if self.is_ended else "leaving" if self.is_leaving else "open"
        return f"<{type(self).__name__} {self.id} {self.client_ip} {state} requests={self.requests}>"

    # ── for the subclasses ──

    def shut_down(self) -> None:
        """Close after the present streams, or at once if there are none."""
        raise NotImplementedError

    def end(self, code: int) -> None:
        """End the connection with an error code."""
        raise NotImplementedError

    def stream_trailers(self, stream_id: int, fields: Fields) -> None:
        """A request has ended, with trailers."""
        exchange = self.streams.get(stream_id)
        if exchange is not None:
            exchange.feed(b"", has_ended=True, trailers=trailer_lines(fields))

    def _close_streams(self) -> None:
        self._sending.clear()
        streams, self.streams = self.streams, {}
        for exchange in streams.values():
            exchange.closed()

    def _respond_refused(self, stream_id: int, error: BadRequest, asked: Callable[[], Request]) -> None:
        """Answer a request that is refused, without an exchange. `asked` makes what is logged of it."""
        front = self.front
        fields, body = refuse(front, self.client_ip, self.scheme, error, asked)
        head = ((b":status", b"%d" % error.status), *field_list(front.common_fields + fields))
        self.session.respond(stream_id, (*head, (b"content-length", b"%d" % len(body))), body)

    def _upload_cut(self) -> None:
        """A request was answered before it was complete."""
        self._cut_uploads += 1
        if self._cut_uploads >= MAX_CUT_UPLOADS:
            self.shut_down()

    def _refuse_flood(self, key: str) -> None:
        if not self.is_ended:
            log.info("closing connection from %s: %s exceeded", self.client_ip, key)
            self._tell_of_flood()
            self.end(self.FLOOD_CODE)

    def _tell_of_flood(self) -> None:
        if self.front.on_limited is not None:
            self.front.on_limited(self.client_ip)

    def refuse_unread(self) -> None:
        """Close: of all connections, this one holds the most that its client does not read."""
        log.warning(
            "closing connection from %s: it leaves the most unread of all that clients were sent (limits.max_unread)",
            self.client_ip,
        )
        self._end_unread()

    def _end_unread(self) -> None:
        """End a connection whose client reads nothing."""
        raise NotImplementedError
