"""A response that is being received: the file that one worker fills for all, by its lock.

The file lies beside those of whole responses, under a name of its own, and is renamed at the end. It is locked for as
long as its process lives, so other workers know whether to wait for it or to fill it themselves.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import Protocol

from npserver.web.handlers.proxy.cache.entry import Entry, StoredHead, open_entry, write_end, write_start

_COPY_BYTES = 1 << 20


class Room(Protocol):
    """The store as a claim knows it."""

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes fit."""

    def count(self, size: int, entries: int = 0) -> None:
        """Add to what the directory holds."""

    def replace(self, temporary: str, name: str, size: int) -> None:
        """Rename a whole file to its name. Raises: OSError."""

    def purged_at(self) -> int:
        """Return when the directory was last purged, as a file time in ns."""


def lock(path: str) -> int | None:
    """Open a new file, or one that a dead process has left, and lock it; None if another process has it locked.

    Raises: OSError.
    """
    for _ in range(3):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        if is_at(file, path):
            os.ftruncate(file, 0)
            os.utime(file)
            return file
        os.close(file)  # it was renamed or removed just before the lock
    return None


def is_at(file: int, path: str) -> bool:
    """Whether an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path, follow_symlinks=False))
    except OSError:
        return False


class Claim:
    """A file that this worker fills."""

    __slots__ = ("_path", "_store", "body_at", "error", "file", "is_open", "size", "started_at")

    def __init__(self, store: Room, path: str, file: int) -> None:
        self._store = store
        self._path = path
        self.file = file
        self.is_open = True  # it is being written
        self.error: OSError | None = None  # why the file system did not take a piece
        self.body_at = 0  # where the body begins
        self.size = 0  # bytes of the body
        self.started_at = os.fstat(file).st_mtime_ns

    def __repr__(self) -> str:
        return f"<Claim {os.path.basename(self._path)} {self.size}>"

    def start(self, head: StoredHead) -> bool:
        """Write what stands before the body. Return False if there is no room."""
        start = write_start(head)
        self.body_at = len(start)
        return self._append(start)

    def write(self, data: bytes) -> bool:
        """Write a piece of the body. Return False if there is no room."""
        if not self._append(data):
            return False
        self.size += len(data)
        return True

    def copy(self, entry: Entry) -> bool:
        """Write the body of a stored response. Return whether it is whole."""
        if entry.body is not None:
            return self.write(entry.body)
        file = open_entry(entry)
        if file is None:
            return False
        try:
            at = 0
            while at < entry.size:
                data = os.pread(file, min(_COPY_BYTES, entry.size - at), entry.offset + at)
                if not data or not self.write(data):
                    return False
                at += len(data)
            return True
        finally:
            os.close(file)

    def _append(self, data: bytes) -> bool:
        if not self._store.has_room(len(data)):
            return False
        rest = data
        while rest:
            try:
                written = os.write(self.file, rest)
            except OSError as error:  # the disk is full
                self.error = error
                return False
            self._store.count(written)
            rest = rest[written:]
        return True

    def commit(self, name: str) -> bool:
        """Give the whole response its name. Return whether it is stored: not if its key was removed meanwhile.

        Of a file on a disk the caller has synced the body.
        """
        if not self._append(write_end(self.size)):
            self.discard()
            return False
        is_removed = not is_at(self.file, self._path) or self._store.purged_at() >= self.started_at
        if is_removed:
            self.discard()
            return False
        try:
            self._store.replace(self._path, name, self._bytes)
        except OSError:
            self.discard()
            return False
        self._release()
        return True

    def discard(self) -> None:
        """Remove the file; what is written of it can still be read by `file`. A second call does nothing."""
        if not self.is_open:
            return
        if is_at(self.file, self._path):
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        self._store.count(-self._bytes)
        self._release()

    def close(self) -> None:
        """Close the file: nobody reads it any more."""
        self.discard()
        if self.file >= 0:
            os.close(self.file)
            self.file = -1

    @property
    def _bytes(self) -> int:
        return os.fstat(self.file).st_size

    def _release(self) -> None:
        self.is_open = False
        fcntl.flock(self.file, fcntl.LOCK_UN)
