"""The file of a stored response: its head, its body, and an end that shows that it is whole.

A file that lacks its end, or names other lengths than it has, is never served: not one that a killed process has left,
nor one of a disk that lost power.
"""

from __future__ import annotations

import contextlib
import os
import struct

import msgspec

from npserver.http.caching import Freshness, vary_values

MAGIC = b"npserver cache 1\n"
END = b"npserver end\n"
_HEAD = struct.Struct(">I")
_TAIL = struct.Struct(">Q")
START_BYTES = len(MAGIC) + _HEAD.size
TAIL_BYTES = _TAIL.size + len(END)
MAX_HEAD_BYTES = 256 << 10
IN_MEMORY_BYTES = 64 << 10  # a smaller body is kept in each worker's memory too

#: The state of a file: inode, modification time in ns, size.
FileState = tuple[int, int, int]


class StoredHead(msgspec.Struct, array_like=True):
    """What is kept of a response besides its body. With `status` 0 it only names the fields that choose a variant."""

    key: bytes  # the whole key: of two with one digest, neither is served for the other
    url: str  # scheme, authority, path and query, for `npserver purge`
    group: bytes  # random, the same for all variants of a key that may be served
    vary: tuple[bytes, ...]  # names of the request fields that chose it
    values: tuple[bytes, ...]  # their values
    status: int = 0
    fields: bytes = b""  # field lines, without Age
    received_s: float = 0.0  # when, in seconds since 1970
    age_s: float = 0.0  # its age then
    freshness: Freshness = Freshness(0.0, False, False)
    etag: bytes = b""
    modified: bytes = b""  # Last-Modified

    def is_for(self, request: dict[bytes, bytes]) -> bool:
        """Whether it is the response that a request with these fields asks for (RFC 9111 §4.1)."""
        return not self.vary or vary_values(self.vary, request) == self.values


class Hit(msgspec.Struct, eq=False, frozen=True):
    """A whole answer from the cache, as `web.exchange.Prepared`: the same for a second."""

    status: int
    fields: bytes
    body: bytes
    age_s: int


class Entry(msgspec.Struct, eq=False):
    """A stored response, as read from its file."""

    path: str
    state: FileState
    head: StoredHead
    offset: int  # of the body in the file
    size: int  # of the body
    body: bytes | None  # None: it is only in the file
    touched_s: float = 0.0  # when its time of use was last written
    hit: Hit | None = None  # the last answer to a plain request
    sure_until: float = 0.0  # by the monotonic clock: until then it is neither stale, nor is its file looked at again


def write_start(head: StoredHead) -> bytes:
    """Return the bytes before the body."""
    text = msgspec.msgpack.encode(head)
    return MAGIC + _HEAD.pack(len(text)) + text


def write_end(size: int) -> bytes:
    """Return the bytes after a body of `size` bytes."""
    return _TAIL.pack(size) + END


def read_entry(path: str) -> Entry | None:
    """Read the file of a response; None if there is none, or it is not whole."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return read_open_entry(file, path)
    except (OSError, ValueError, msgspec.MsgspecError, struct.error):
        return None
    finally:
        os.close(file)


def read_open_entry(file: int, path: str) -> Entry | None:
    """Read an open file. Raises: OSError, ValueError, MsgspecError, struct.error."""
    status = os.fstat(file)
    data = os.pread(file, min(status.st_size, START_BYTES + MAX_HEAD_BYTES), 0)
    if data[: len(MAGIC)] != MAGIC:
        return None
    (length,) = _HEAD.unpack_from(data, len(MAGIC))
    offset = START_BYTES + length
    size = status.st_size - offset - TAIL_BYTES
    if length > MAX_HEAD_BYTES or size < 0:
        return None
    if os.pread(file, TAIL_BYTES, offset + size) != write_end(size):
        return None
    head = msgspec.msgpack.decode(data[START_BYTES:offset], type=StoredHead)
    body = None
    if size <= IN_MEMORY_BYTES:
        body = os.pread(file, size, offset)
        if len(body) != size:
            return None
    return Entry(path, state_of(status), head, offset, size, body)


def state_of(status: os.stat_result) -> FileState:
    """Return the state of a file, by which a change of it is noticed."""
    return status.st_ino, status.st_mtime_ns, status.st_size


def open_entry(entry: Entry) -> int | None:
    """Open the file of an entry; None if it is another one by now."""
    try:
        file = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        if state_of(os.fstat(file)) == entry.state:
            return file
    os.close(file)
    return None
