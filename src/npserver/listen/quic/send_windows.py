"""How much a client lets us send, and how much was sent: flow control of one connection (RFC 9000 §4.1).

Kept by `listen.quic.library` from what the client says; the library enforces them, and does not tell them.
"""

from __future__ import annotations

from typing import Any

CREDIT_EVENTS = frozenset({"connection_credit", "stream_credit"})  # of the library: MAX_DATA, MAX_STREAM_DATA


class SendWindows:
    """The client's limits, in bytes from the beginning of the connection or of a stream, and our account of them."""

    # connection  limit of all streams together
    # streams     limits of streams that the client has raised
    # sent        bytes of all streams that were sent, each counted once, as of the last `count`
    # unsent      bytes that the library holds besides
    # _stream     limit of the other streams that the client has opened

    __slots__ = ("_stream", "connection", "sent", "streams", "unsent")

    def __init__(self) -> None:
        self.connection = self.sent = self.unsent = 0
        self.streams: dict[int, int] = {}
        self._stream = 0

    def begin(self, parameters: Any) -> None:
        """Take the limits of the client's transport parameters; MAX_DATA may have come before them."""
        self.connection = max(self.connection, parameters.initial_max_data or 0)
        self._stream = parameters.initial_max_stream_data_bidi_local or 0

    def take(self, event: tuple[Any, ...]) -> None:
        """Take one of `CREDIT_EVENTS`: the client has raised a limit."""
        if event[0] == "connection_credit":
            self.connection = event[1]
        else:
            self.streams[event[1]] = event[2]

    def count(self, unsent: int) -> None:
        """Bring the account up to date: so many bytes are left of what the library held."""
        self.sent += self.unsent - unsent
        self.unsent = unsent

    def stream(self, stream_id: int) -> int:
        """Return the limit of a stream that the client has opened."""
        return max(self.streams.get(stream_id, 0), self._stream)
