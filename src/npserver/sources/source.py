"""Where data comes from: a file or a URL. `sources.following` keeps what was read up to date.

Blocking: called while a config is compiled, and in threads.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import Protocol

from msgspec import Struct

from npserver.errors import NpserverError, clip, reason_of
from npserver.runtime.context import PerProcess
from npserver.runtime.public_addresses import origin_of


class DataError(NpserverError):
    """Data that cannot be used. The message is for the operator."""


class SuppliedFiles(Protocol):
    """Contents that the master supplies to processes that may not read the files (`tls.files`)."""

    used: set[str]

    def is_supplied(self, file: str, /) -> bool:
        """Whether the contents of a file were supplied."""

    def read(self, file: str, /) -> bytes:
        """Return the content of a file."""

    def state(self, file: str, /) -> tuple[int, int, int]:
        """Return modification time, inode and size of a file."""


#: Those of a process; None: it reads the files itself.
SUPPLIED: PerProcess[SuppliedFiles | None] = PerProcess(lambda _: None)


class Source(Struct, frozen=True):
    """Where data comes from, and its limits."""

    kind: str  # "url", or another word for a file
    place: str  # the path of a file, or a URL
    max_bytes: int
    refresh_s: float = 0.0
    timeout_s: float = 0.0

    @property
    def digest(self) -> str:
        """A name for what is read."""
        return sha256(f"{self.kind}\0{self.place}".encode()).hexdigest()[:32]

    @property
    def shown(self) -> str:
        """The place for people: of a URL no more than its host, as the rest may hold a secret."""
        return origin_of(self.place) if self.kind == "url" else self.place


class FileStamp(Struct, frozen=True):
    """The state of a file, to see whether it has changed."""

    modified_ns: int
    inode: int
    size: int

    @property
    def modified_at(self) -> float:
        """When it was last written, in seconds since 1970."""
        return self.modified_ns / 1e9


def read_file(source: Source, files: SuppliedFiles | None = None) -> tuple[FileStamp, bytes]:
    """Return the content of a file. Raises: DataError.

    `files`: supplied by the master, for a process that may not read the file; only what is still in the file counts.
    """
    try:
        with open(source.place, "rb") as file:
            status = os.fstat(file.fileno())
            stamp = FileStamp(status.st_mtime_ns, status.st_ino, status.st_size)
            data = file.read(source.max_bytes + 1)
    except PermissionError as error:
        found = stamp_of(source, files)
        if found is None or files is None or found != _supplied_stamp(source, files):
            reason = f"{reason_of(error)}: let the user of the server read it"
            raise DataError(f"cannot read {clip(source.place)}: {reason}") from None
        stamp, data = found, files.read(source.place)
    except OSError as error:
        raise DataError(f"cannot read {clip(source.place)}: {reason_of(error)}") from None
    if len(data) > source.max_bytes:
        raise DataError(f"{clip(source.place)} has more than {source.max_bytes} bytes (max_size)")
    return stamp, data


def stamp_of(source: Source, files: SuppliedFiles | None = None) -> FileStamp | None:
    """Return the state of a file; None if there is none. `files`: see `read_file`."""
    try:
        found = os.stat(source.place)
    except PermissionError:  # of the directory
        return _supplied_stamp(source, files)
    except OSError:
        return None
    return FileStamp(found.st_mtime_ns, found.st_ino, found.st_size)


def _supplied_stamp(source: Source, files: SuppliedFiles | None) -> FileStamp | None:
    if files is None or not files.is_supplied(source.place):
        return None
    return FileStamp(*files.state(source.place))
