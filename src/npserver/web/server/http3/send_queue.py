"""Whose bytes go next: the responses of one HTTP/3 connection in the order of their priorities (RFC 9218 §10).

The QUIC library sends what it holds of all streams in equal shares. So it is given little at a time: the next bytes of
the most urgent response that the client lets us send. The rest waits here, in `web.server.http3.session`'s queue. While
a single response is sent, nothing but large ones passes through the queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.listen.quic.roles import NOTHING_WAITS
from npserver.web.server.http3.priority import DEFAULT, LEAST_URGENT, Priority, parse_priority

if TYPE_CHECKING:
    from npserver.listen.quic.transport import QuicTransport

LIBRARY_BYTES = 16 << 10  # that the library holds at once: they come before a more urgent response that begins then
DATAGRAM_BYTES = 1200  # that a datagram carries at most
SHARE_BYTES = 4 << 10  # of one incremental response, before the next one has its turn


class Outgoing:
    """A response as far as it was written."""

    # given      bytes that the library has got
    # data       bytes that wait
    # has_ended  nothing is written any more
    # turn       when it was given to the library last

    __slots__ = ("data", "given", "has_ended", "id", "priority", "turn")

    def __init__(self, stream_id: int, priority: Priority) -> None:
        self.id = stream_id
        self.priority = priority
        self.given = 0
        self.data = bytearray()
        self.has_ended = False
        self.turn = 0


class SendQueue:
    """The responses of one connection."""

    # _streams     the responses that are not complete
    # _waiting     those of them that have data here
    # _early       priorities of requests that have not begun, by PRIORITY_UPDATE
    # _last        the response that the library was given a piece of last
    # _turn        number of pieces given so far
    # _has_excess  the library may have more of responses than the windows of their streams allow
    # _is_yielded  a response has run out: its source comes before less urgent ones

    __slots__ = ("_early", "_has_excess", "_is_yielded", "_last", "_streams", "_transport", "_turn", "_waiting")

    def __init__(self, transport: QuicTransport) -> None:
        self._transport = transport
        self._streams: dict[int, Outgoing] = {}
        self._waiting: dict[int, Outgoing] = {}
        self._early: dict[int, Priority] = {}
        self._last: Outgoing | None = None
        self._turn = 0
        self._has_excess = False
        self._is_yielded = False

    def __repr__(self) -> str:
        waiting = [f"{stream.id}: u={stream.priority.urgency} {len(stream.data)}" for stream in self._waiting.values()]
        return f"<SendQueue {', '.join(waiting)}>"

    # ── priorities ──

    def open(self, stream_id: int, field: bytes | None) -> None:
        """A request has begun. `field`: its `Priority`; a PRIORITY_UPDATE frame counts for more (RFC 9218 §7)."""
        priority = self._early.pop(stream_id, None) if self._early else None
        if priority is None:
            priority = DEFAULT if field is None else parse_priority(field)
        self._streams[stream_id] = Outgoing(stream_id, priority)

    def update(self, stream_id: int, field: bytes) -> None:
        """Take a PRIORITY_UPDATE frame, perhaps of a request that has not begun yet."""
        priority = parse_priority(field)
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.priority = priority
            return
        self._early.pop(stream_id, None)
        if len(self._early) >= self._transport.max_streams:  # of requests that are over, some of them
            del self._early[next(iter(self._early))]
        self._early[stream_id] = priority

    def override(self, stream_id: int, field: bytes) -> None:
        """Take the `Priority` field of a response (RFC 9218 §8)."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.priority = parse_priority(field, stream.priority)

    # ── responses ──

    def send(self, stream_id: int, data: bytes, *, has_ended: bool = False) -> None:
        """Send bytes of a response when it is their turn."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return  # closed: the owner is about to hear of it
        stream.has_ended = has_ended
        size = len(data)
        if not size and stream.data:
            return  # the end goes with the last of them
        if not size or (not self._waiting and size <= min(self._room(), self._left(stream))):
            stream.given += size
            self._transport.send(stream_id, data, has_ended=has_ended)
        else:
            stream.data += data
            self._waiting[stream_id] = stream

    def drop(self, stream_id: int) -> None:
        """Forget a response that is complete, or not wanted any more."""
        self._streams.pop(stream_id, None)
        self._waiting.pop(stream_id, None)

    def unsent(self, stream_id: int) -> int:
        """Return the bytes of a response that are not sent yet."""
        stream = self._waiting.get(stream_id)
        held = self._transport.unsent(stream_id)
        return held if stream is None else held + len(stream.data)

    @property
    def all_unsent(self) -> int:
        """Bytes of all responses that are not sent yet."""
        held = self._transport.unsent()
        return held + sum([len(stream.data) for stream in self._waiting.values()]) if self._waiting else held

    def progress(self, stream_id: int) -> int:
        """Return how many bytes of all responses were sent, if this one waits for others; 0 if it does not."""
        stream = self._waiting.get(stream_id)
        return 0 if stream is None or self._left(stream) <= 0 else self._transport.windows.sent

    # ── whose turn it is ──

    def fill(self) -> int:
        """Give the library what is to be sent next. Return how many datagrams can be sent before the next call."""
        if not self._waiting:
            return NOTHING_WAITS
        if self._transport.is_held:
            self._fill_all()
        else:
            room = self._room()
            while room > 0 and not self._is_yielded:
                stream, is_alone = self._next()
                if stream is None or (is_alone and self._is_early(stream)):
                    break
                room -= self._give(stream, min(room, self._left(stream), room if is_alone else SHARE_BYTES))
        return max(1, self._transport.unsent() // DATAGRAM_BYTES)

    def end_turn(self) -> bool:
        """Called when the sources have had a chance to write. Return whether there is more to be given."""
        is_yielded, self._is_yielded = self._is_yielded, False
        return is_yielded and bool(self._waiting)

    def _room(self) -> int:
        """Return how many bytes the library may be given."""
        windows = self._transport.windows
        if self._transport.is_held:
            return LIBRARY_BYTES - windows.unsent
        unsent = windows.unsent
        if self._has_excess:
            excess = sum([max(0, -self._left(stream)) for stream in self._streams.values()])
            self._has_excess = excess > 0
            unsent -= excess
        return min(LIBRARY_BYTES, windows.connection - windows.sent) - unsent

    def _left(self, stream: Outgoing) -> int:
        """Return how many bytes of a response the client's window of its stream allows."""
        if self._transport.is_held:
            return LIBRARY_BYTES
        return self._transport.stream_limit(stream.id) - stream.given

    def _next(self) -> tuple[Outgoing | None, bool]:
        """Return the response whose turn it is, and whether it shares with no other.

        Of the most urgent ones, those that are not incremental come one after another in the order of their streams;
        the first of them and the incremental ones share.
        """
        urgency, whole, part = LEAST_URGENT, None, None
        is_alone = True
        for stream in self._waiting.values():
            priority = stream.priority
            if priority.urgency > urgency or self._left(stream) <= 0:
                continue
            if priority.urgency < urgency:
                urgency, whole, part, is_alone = priority.urgency, None, None, True
            if not priority.is_incremental:
                is_alone = is_alone and part is None
                if whole is None or stream.id < whole.id:
                    whole = stream
            else:
                is_alone = part is None and whole is None
                if part is None or stream.turn < part.turn:
                    part = stream
        if whole is None or (part is not None and part.turn < whole.turn):
            return part, is_alone
        return whole, is_alone

    def _is_early(self, stream: Outgoing) -> bool:
        """Return whether the library still has the end of a response that comes before this one."""
        last = self._last
        if last is None or (last.priority.urgency, last.id) >= (stream.priority.urgency, stream.id):
            return False
        if self._left(last) < 0:
            return False
        return self._transport.unsent(last.id) >= DATAGRAM_BYTES

    def _give(self, stream: Outgoing, size: int) -> int:
        """Give the library bytes of a response. Return how many."""
        if size < len(stream.data):
            piece = stream.data[:size]
            del stream.data[:size]
        else:
            piece, stream.data = stream.data, bytearray()
            del self._waiting[stream.id]
            self._is_yielded = not stream.has_ended and bool(self._waiting)
        self._turn += 1
        stream.turn = self._turn
        self._last = stream
        stream.given += len(piece)
        self._transport.send(stream.id, piece, has_ended=stream.has_ended and not stream.data)
        return len(piece)

    def _fill_all(self) -> None:
        """Give the library something of every response: it knows the client's windows, and its events are held."""
        for stream in sorted(self._waiting.values(), key=lambda stream: (stream.priority.urgency, stream.id)):
            room = LIBRARY_BYTES - self._transport.unsent(stream.id)
            if room > 0:
                self._give(stream, room)
        self._has_excess = True
        self._is_yielded = False
