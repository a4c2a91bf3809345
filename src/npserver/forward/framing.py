"""Message framing: how forwards between a stream and datagrams delimit messages on the stream.

`raw`: each read is one message. `line`: a line feed ends each message (StatsD, syslog, RFC 6587 §3.4.2). `length16`,
`length32`: a big-endian length precedes each message (DNS over TCP, RFC 1035 §4.2.2). A `MessageDecoder` keeps partial
messages between feeds and returns a bounded number of messages per call, so that a flood of tiny messages does not
delay other connections. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

FramingName = Literal["raw", "line", "length16", "length32"]

MAX_LENGTHS = {"raw": 1 << 32, "line": 1 << 32, "length16": 0xFFFF, "length32": 0xFFFF_FFFF}
_COMPACT = 64 << 10  # bytes of returned messages after which the buffer is compacted


class FramingError(ValueError):
    """The stream holds a message longer than allowed; no message after it can be decoded."""


class MessageDecoder:
    """Decodes the messages of one stream: `feed` what was read, then call `messages` until it returns none."""

    __slots__ = ("_buffer", "_next", "_start", "max_message_size")

    def __init__(self, framing: FramingName, max_message_size: int) -> None:
        """Create a decoder. `max_message_size`: bytes of a message without its framing; longer raw reads are split."""
        self.max_message_size = max_message_size
        self._buffer = bytearray()
        self._start = 0  # offset of the first message not returned yet
        self._next = _NEXT[framing]

    def __repr__(self) -> str:
        return f"<MessageDecoder holding {self.held_bytes}>"

    @property
    def held_bytes(self) -> int:
        """Bytes fed and not returned as messages yet."""
        return len(self._buffer) - self._start

    def feed(self, data: bytes) -> None:
        """Add the next bytes of the stream (copied)."""
        if self._start >= _COMPACT or self._start == len(self._buffer):
            del self._buffer[: self._start]
            self._start = 0
        self._buffer += data

    def messages(self, limit: int) -> list[bytes]:
        """Return at most `limit` complete messages. Raises: `FramingError` for a message longer than allowed."""
        found: list[bytes] = []
        take = self._next
        while len(found) < limit and (message := take(self)) is not None:
            found.append(message)
        return found

    def rest(self) -> bytes:
        """Return what is left at the end of the stream: a last line without line feed. Drops other partial messages."""
        rest = b""
        if self._next is MessageDecoder._next_line:
            rest = bytes(self._buffer[self._start :]).removesuffix(b"\r")
        self._buffer.clear()
        self._start = 0
        return rest

    def _next_raw(self) -> bytes | None:
        if self._start == len(self._buffer):
            return None
        end = min(self._start + self.max_message_size, len(self._buffer))
        message = bytes(self._buffer[self._start : end])
        self._start = end
        return message

    def _next_line(self) -> bytes | None:
        while (end := self._buffer.find(b"\n", self._start)) >= 0:
            line = bytes(self._buffer[self._start : end]).removesuffix(b"\r")
            if len(line) > self.max_message_size:
                break
            self._start = end + 1
            if line:  # empty lines are skipped
                return line
        if self.held_bytes > self.max_message_size + 1 or end >= 0:
            raise FramingError(f"line longer than {self.max_message_size} bytes")
        return None

    def _next_length16(self) -> bytes | None:
        return self._next_counted(2)

    def _next_length32(self) -> bytes | None:
        return self._next_counted(4)

    def _next_counted(self, width: int) -> bytes | None:
        body = self._start + width
        if len(self._buffer) < body:
            return None
        length = int.from_bytes(self._buffer[self._start : body], "big")
        if length > self.max_message_size:
            raise FramingError(f"message of {length} bytes, longer than {self.max_message_size} bytes")
        end = body + length
        if len(self._buffer) < end:
            return None
        self._start = end
        return bytes(self._buffer[body:end])


_NEXT: dict[str, Callable[[MessageDecoder], bytes | None]] = {
    "raw": MessageDecoder._next_raw,
    "line": MessageDecoder._next_line,
    "length16": MessageDecoder._next_length16,
    "length32": MessageDecoder._next_length32,
}


def encoder(framing: FramingName) -> Callable[[bytes], bytes]:
    """Return the function that frames a message for a stream. Messages are at most `MAX_LENGTHS[framing]` long."""
    encoders: dict[str, Callable[[bytes], bytes]] = {
        "raw": bytes,
        "line": _encode_line,
        "length16": _encode_length16,
        "length32": _encode_length32,
    }
    return encoders[framing]


def _encode_line(message: bytes) -> bytes:
    """Add a line feed unless the message ends with one."""
    return message if not message or message.endswith(b"\n") else message + b"\n"


def _encode_length16(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def _encode_length32(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message
