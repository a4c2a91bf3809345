"""Chunked transfer coding of message bodies (RFC 9112 §7.1): a strict decoder, and the encoding of a chunk."""

from __future__ import annotations

from enum import Enum

from npserver.errors import BadRequest, BadResponse, clip
from npserver.http.field_names import fold
from npserver.http.forwarded import is_identity
from npserver.regex import regex

MAX_LINE_BYTES = 256  # a chunk size and its extensions, which hardly anyone sends
MAX_OVERHEAD_BYTES = 16 << 10  # all extensions of one body (as Go's net/http since CVE-2023-39326)
MAX_TRAILER_BYTES = 8 << 10
LAST_CHUNK = b"0\r\n"

_SIZE_LINE = regex(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER = regex(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t\x20-\x7e\x80-\xff]*")
#: Fields that are not allowed as trailers, because they frame, route or authenticate (RFC 9110 §6.5.1). Dropped.
FORBIDDEN_TRAILERS = frozenset(
    b"connection content-length content-encoding content-range content-type expect host keep-alive max-forwards "
    b"authorization cookie set-cookie te trailer transfer-encoding upgrade forwarded x-forwarded-for x-forwarded-host "
    b"x-forwarded-proto x-real-ip cache-control proxy-authorization".split()
)


def is_forbidden_trailer(name: bytes) -> bool:
    """Return whether a field, its name in lower case, is dropped from trailers, in any spelling applications accept."""
    folded = fold(name)
    return folded in FORBIDDEN_TRAILERS or is_identity(folded)


class _State(Enum):
    SIZE = "size"
    DATA = "data"
    DATA_END = "data end"
    TRAILERS = "trailers"
    DONE = "done"


def chunk(data: bytes) -> bytes:
    """Return `data`, which must not be empty, as one chunk: its size in hexadecimal, CRLF, the data, CRLF."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class ChunkedDecoder:
    """Decodes one chunked body that arrives in pieces of any size.

    Once `done`, `rest` holds the bytes that followed the body, and `trailers` its trailer lines, each ending in CRLF.
    `error` is the exception to raise: `BadRequest` for a request's body, `BadResponse` for a response's.
    """

    __slots__ = ("_buffer", "_error", "_left", "_overhead", "_state", "rest", "trailers")

    def __init__(self, error: type[BadRequest] | type[BadResponse] = BadRequest) -> None:
        self._error = error
        self._state = _State.SIZE
        self._buffer = b""
        self._left = 0  # bytes of the current chunk yet to come
        self._overhead = 0  # bytes of extensions and trailers so far
        self.rest = b""
        self.trailers = b""

    @property
    def done(self) -> bool:
        """Whether the end of the body has been read."""
        return self._state is _State.DONE

    def feed(self, data: bytes) -> bytes:
        """Decode the next bytes and return the payload in them. Raises: the decoder's `error` if they are malformed."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        pieces: list[bytes] = []
        position = 0
        while True:
            if self._state is _State.DATA:
                piece = data[position : position + self._left] if position or self._left < len(data) else data
                if piece:
                    pieces.append(piece)
                    position += len(piece)
                    self._left -= len(piece)
                if self._left:
                    break
                self._state = _State.DATA_END
            if self._state is _State.DATA_END:
                ending = data[position : position + 2]
                if ending != b"\r\n"[: len(ending)]:
                    raise self._error("chunk data is longer than the chunk size", rfc="RFC 9112 §7.1")
                if len(ending) < 2:
                    self._buffer = ending
                    break
                position += 2
                self._state = _State.SIZE
            line_end = data.find(b"\r\n", position)
            if line_end < 0:
                self._keep_partial_line(data[position:])
                break
            line = data[position:line_end]
            position = line_end + 2
            if self._state is _State.SIZE:
                self._read_size(line)
            elif self._read_trailer(line):
                self.rest = data[position:]
                break
        return b"".join(pieces) if len(pieces) != 1 else pieces[0]

    def _keep_partial_line(self, line: bytes) -> None:
        limit = MAX_LINE_BYTES if self._state is _State.SIZE else MAX_TRAILER_BYTES - len(self.trailers)
        if len(line) > limit or b"\n" in line or b"\r" in line[:-1]:
            raise self._error(f"bad {self._state.value} line in a chunked body: {clip(line)}", rfc="RFC 9112 §7.1")
        self._buffer = line

    def _read_size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None or len(line) > MAX_LINE_BYTES:
            raise self._error(f"bad chunk size {clip(line)}", rfc="RFC 9112 §7.1")
        if len(match[1]) < len(line):
            self._overhead += len(line)
            if self._overhead > MAX_OVERHEAD_BYTES:
                raise self._error("too many chunk extensions", rfc="RFC 9112 §7.1.1")
        self._left = int(match[1], 16)
        self._state = _State.DATA if self._left else _State.TRAILERS

    def _read_trailer(self, line: bytes) -> bool:
        """Read a line after the last chunk; return True for the empty one that ends the body."""
        if not line:
            self._state = _State.DONE
            return True
        match = _TRAILER.fullmatch(line)
        self._overhead += len(line)
        if match is None or self._overhead > MAX_OVERHEAD_BYTES or len(self.trailers) + len(line) > MAX_TRAILER_BYTES:
            raise self._error(f"bad trailer {clip(line)}", rfc="RFC 9112 §7.1.2")
        if not is_forbidden_trailer(match[1].lower()):
            self.trailers += line + b"\r\n"
        return False
