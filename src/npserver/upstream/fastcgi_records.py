"""Records of FastCGI 1.0: written for requests, read from responses. Pure; used by `upstream.fastcgi`.

A record is a header of 8 bytes (version, type, request id, content length, padding length), its content of at most
65,535 bytes, and padding of at most 255. A connection carries one request at a time, always with the same id.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from npserver.errors import BadResponse, clip

VERSION = 1
REQUEST_ID = 1  # of all our requests
BEGIN_REQUEST, END_REQUEST, PARAMS, STDIN, STDOUT, STDERR = 1, 3, 4, 5, 6, 7
MAX_CONTENT_BYTES = 65535
#: Content of a whole record of STDIN or PARAMS: a multiple of 8, so that no padding is needed (§3.3).
PIECE_BYTES = 65528

_HEADER = Struct(">BBHHBx")
_BEGIN = Struct(">HB5x")  # role, flags
_END = Struct(">IB3x")  # status of the application, status of the protocol
_RESPONDER = 1
_KEEP_CONNECTION = 1
_LONG = 0x80000000  # marks a length of four bytes (§3.4)
#: Why a request was not processed, by the status of the protocol (§5.5).
_REFUSALS = {
    1: "it takes one request per connection",
    2: "it is overloaded",
    3: "it does not know the role of a responder",
}


def _record(kind: int, content: bytes) -> bytes:
    return _HEADER.pack(VERSION, kind, REQUEST_ID, len(content), 0) + content


#: The record that ends the body of a request.
END_OF_STDIN = _record(STDIN, b"")
_END_OF_PARAMS = _record(PARAMS, b"")
_BEGINNINGS = {
    is_kept: _record(BEGIN_REQUEST, _BEGIN.pack(_RESPONDER, _KEEP_CONNECTION if is_kept else 0))
    for is_kept in (False, True)
}


def write_pair(name: bytes, value: bytes) -> bytes:
    """Return a name and its value as PARAMS carries them (§3.4)."""
    short, long = len(name), len(value)
    lengths = bytes((short,)) if short < 128 else (short | _LONG).to_bytes(4, "big")
    lengths += bytes((long,)) if long < 128 else (long | _LONG).to_bytes(4, "big")
    return lengths + name + value


def write_head(params: bytes, *, keep: bool) -> bytes:
    """Return the beginning of a request: BEGIN_REQUEST and PARAMS; its body follows in STDIN.

    Args:
        params: pairs made by `write_pair`, one after the other.
        keep: whether the server is asked to leave the connection open (FCGI_KEEP_CONN).
    """
    if len(params) <= MAX_CONTENT_BYTES:
        return b"".join((_BEGINNINGS[keep], _record(PARAMS, params), _END_OF_PARAMS))
    return b"".join((_BEGINNINGS[keep], *[_record(PARAMS, piece) for piece in _divide(params)], _END_OF_PARAMS))


def _divide(params: bytes) -> Iterator[bytes]:
    """Yield the contents of several PARAMS records.

    A pair is not divided between two of them unless it is longer than one: PHP reads each record by itself.
    """
    start = end = 0
    while end < len(params):
        after = _end_of_pair(params, end)
        if after - start > MAX_CONTENT_BYTES and end > start:
            yield params[start:end]
            start = end
        end = after
        while end - start > MAX_CONTENT_BYTES:
            yield params[start : start + PIECE_BYTES]
            start += PIECE_BYTES
    yield params[start:]


def _end_of_pair(params: bytes, at: int) -> int:
    """Return where the pair ends that begins at a place."""
    size = 0
    for _ in range(2):
        width = 4 if params[at] & 0x80 else 1
        size += int.from_bytes(params[at : at + width]) & 0x7FFFFFFF
        at += width
    return at + size


def write_stdin(data: bytes) -> bytes:
    """Return the records of a piece of a body; none for none, which would end it."""
    if len(data) <= MAX_CONTENT_BYTES:
        return _record(STDIN, data) if data else b""
    return b"".join([_record(STDIN, data[at : at + PIECE_BYTES]) for at in range(0, len(data), PIECE_BYTES)])


def refusal_of(content: bytes) -> str:
    """Return why the request of an END_REQUEST record was not processed; empty if it was.

    Raises: BadResponse if the record does not say that.
    """
    if len(content) != _END.size:
        raise BadResponse(f"END_REQUEST has {len(content)} bytes")
    status = _END.unpack(content)[1]
    if status and status not in _REFUSALS:
        raise BadResponse(f"END_REQUEST with protocol status {status}")
    return _REFUSALS[status] if status else ""


class RecordReader:
    """Reads the records of responses, in pieces of any size. It holds at most one incomplete record."""

    # fault    why what follows the records returned so far cannot be read; empty if nothing is wrong
    # _rest    the incomplete record
    # _needed  bytes of it before another look is worth while

    __slots__ = ("_needed", "_rest", "fault")

    def __init__(self) -> None:
        self.fault = ""
        self._rest = bytearray()
        self._needed = 0

    @property
    def is_between_records(self) -> bool:
        """Whether all that was fed has been returned."""
        return not self._rest and not self.fault

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the complete records: STDOUT, STDERR or END_REQUEST, each with its content.

        A record that a server may not send to us sets `fault`, and nothing is read from there on.
        """
        if self.fault:
            return []
        rest = self._rest
        if rest:
            rest += data
            if len(rest) < self._needed:
                return []
            data = bytes(rest)
            rest.clear()
        records: list[tuple[int, bytes]] = []
        at, size, needed = 0, len(data), _HEADER.size
        while size - at >= _HEADER.size:
            version, kind, request_id, length, padding = _HEADER.unpack_from(data, at)
            if version != VERSION or request_id != REQUEST_ID or kind not in (STDOUT, STDERR, END_REQUEST):
                self.fault = _fault(data[at:], version, kind, request_id)
                return records
            content = at + _HEADER.size
            end = content + length + padding
            if end > size:
                needed = end - at
                break
            records.append((kind, data[content : content + length]))
            at = end
        if at < size:
            rest += data[at:]
            self._needed = needed
        return records


def _fault(data: bytes, version: int, kind: int, request_id: int) -> str:
    if version != VERSION:
        hint = " (HTTP: use handler 'proxy')" if data.startswith(b"HTTP/") else ""
        return f"not a FastCGI record: {clip(data[:40])}{hint}"
    if kind not in (STDOUT, STDERR, END_REQUEST):
        return f"FastCGI record of type {kind}, which no request asked for"
    return f"FastCGI record of request {request_id}, which was never sent"
