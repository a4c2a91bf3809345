"""One request stream of an HTTP/3 connection, as far as the session reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.web.server.http3.frames import read_varint

if TYPE_CHECKING:
    from npserver.http.request import Fields

HEAD, BODY, DONE = range(3)  # what comes next; DONE: nothing more is wanted


class RequestStream:
    """What has come of a request."""

    # buffer          bytes of which those from `at` on are not read yet; afterwards, of a frame that is not complete
    # begin           where the frame begins whose type was read last
    # left            bytes of the present frame that are still to come or to be read
    # is_data         whether these are of the body
    # length          Content-Length
    # unacknowledged  bytes of the body that are passed on and not used yet
    # unwanted        bytes that came after we had stopped the stream
    # blocked         bytes of its field section that waits for the dynamic table
    # held            of both that and `buffer`, as far as counted: see `web.server.http3.incomplete_heads`
    # is_told         the owner knows of the request
    # is_closed       the owner has been told that it is closed

    __slots__ = (
        "at", "begin", "blocked", "buffer", "has_ended", "held", "id", "is_closed", "is_data", "is_told", "left",
        "length", "received", "state", "trailers", "unacknowledged", "unwanted",
    )  # fmt: skip

    def __init__(self, stream_id: int) -> None:
        self.id = stream_id
        self.state = HEAD
        self.buffer = b""
        self.at = 0
        self.begin = 0
        self.left = 0
        self.is_data = False
        self.has_ended = False
        self.length: int | None = None
        self.received = 0
        self.trailers: Fields | None = None
        self.unacknowledged = 0
        self.unwanted = 0
        self.blocked = self.held = 0
        self.is_told = False
        self.is_closed = False

    @property
    def has_unread(self) -> bool:
        """Whether there are bytes that have not been read."""
        return self.at < len(self.buffer)

    def next_frame(self) -> tuple[int, int] | None:
        """Read the type and the length of the next frame; None if they are not complete."""
        kind, at = read_varint(self.buffer, self.at)
        if kind < 0:
            return None
        size, at = read_varint(self.buffer, at)
        if size < 0:
            return None
        self.begin, self.at = self.at, at
        return kind, size

    def take(self, size: int) -> bytes:
        """Read at most so many bytes."""
        piece = self.buffer[self.at : self.at + size]
        self.at += len(piece)
        return piece

    def unread_frame(self) -> None:
        """Go back to the beginning of a frame that is not complete."""
        self.at = self.begin

    def compact(self) -> None:
        """Forget what has been read."""
        if self.at:
            self.buffer = self.buffer[self.at :]
            self.at = 0
