"""Opening the file that a request's path names, only if it lies below the root directory.

Used by the modules of `web.handlers.static`. Whether a file lies below the root is checked on the open descriptor, so
a link or directory that is replaced between check and open cannot lead outside.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from enum import Enum

log = logging.getLogger("npserver.http")

#: Opening must not block on a FIFO or acquire a controlling terminal, and child programs must not inherit the file.
_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_BUSY = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO})
_ALWAYS_SHOWN = ".well-known"  # RFC 8615

#: Device, inode, size, and times of modification and status change in nanoseconds.
FileIdentity = tuple[int, int, int, int, int]


class FileError(Enum):
    """The reason why a file cannot be served, with the HTTP status to answer."""

    MISSING = 404, "there is no such file"
    HIDDEN = 404, "a name in the path starts with a dot"
    UNLISTED = 404, "the directory has no index file"
    FORBIDDEN = 403, "permission denied"
    OUTSIDE = 403, "the path leaves the root by a symbolic link"
    CHANGING = 503, "the file keeps changing"
    BUSY = 503, "out of descriptors or memory"

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason


def file_identity(status: os.stat_result) -> FileIdentity:
    """Return the identity of a file. It changes when the file is modified or replaced."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def decode_path(path: str) -> str | None:
    """Return the file path of a canonical URL path; None if it has an encoded slash, a NUL or a dot segment."""
    if "%" in path:
        from urllib.parse import unquote_to_bytes  # rarely needed, and slow to import

        wire = unquote_to_bytes(path)
        if wire.count(b"/") != path.count("/") or b"\0" in wire:
            return None
        path = os.fsdecode(wire)
    if "/." in path and any(segment in (".", "..") for segment in path.split("/")):
        return None
    return path


def is_hidden(path: str) -> bool:
    """Return whether a name in this path starts with a dot, except `.well-known`."""
    return "/." in path and any(segment.startswith(".") and segment != _ALWAYS_SHOWN for segment in path.split("/"))


def file_error_of(error: OSError) -> FileError:
    """Return the `FileError` of a failed system call; what may not be read is logged, with the name in the error."""
    if isinstance(error, PermissionError):
        log.info("403: cannot read %s: permission denied (root)", error.filename)
        return FileError.FORBIDDEN
    return FileError.BUSY if error.errno in _BUSY else FileError.MISSING


class Root:
    """A directory whose files may be served. `directory` may be a symbolic link, and the link may change."""

    __slots__ = ("_real", "directory", "follow_symlinks")

    def __init__(self, directory: str, *, follow_symlinks: bool = False) -> None:
        self.directory = os.path.abspath(directory).rstrip("/")  # "" for the root of the file system
        self.follow_symlinks = follow_symlinks
        self._real = ""

    def __repr__(self) -> str:
        return f"<Root {self.directory or '/'}>"

    def stat(self, path: str) -> os.stat_result | FileError:
        """Return the status of `path`, which starts with a slash."""
        try:
            return os.stat(self.directory + path)
        except OSError as error:
            return file_error_of(error)
        except ValueError:  # a name that no file system allows
            return FileError.MISSING

    def open_file(self, path: str) -> tuple[int, os.stat_result] | FileError:
        """Open a regular file below the root. Return its descriptor, which the caller owns, and its status."""
        opened = self.open_again(path)
        if not isinstance(opened, FileError) and not self._is_inside(path, *opened):
            os.close(opened[0])
            return FileError.OUTSIDE
        return opened

    def open_again(self, path: str) -> tuple[int, os.stat_result] | FileError:
        """Open a file without checking where it lies: the caller compares its identity with one checked before."""
        try:
            file = os.open(self.directory + path, _OPEN_FLAGS)
        except OSError as error:
            return file_error_of(error)
        except ValueError:
            return FileError.MISSING
        status = os.fstat(file)
        if stat.S_ISREG(status.st_mode):
            return file, status
        os.close(file)
        return FileError.MISSING

    def has(self, path: str) -> bool:
        """Return whether the directory or file `path` lies below the root."""
        return self.follow_symlinks or self._holds(os.path.realpath(self.directory + path))

    def _is_inside(self, path: str, file: int, status: os.stat_result) -> bool:
        if self.follow_symlinks:
            return True
        try:
            real = os.readlink(f"/proc/self/fd/{file}")
        except OSError:  # not Linux: resolve the name, and check that it is the file that was opened
            real = os.path.realpath(self.directory + path)
            try:
                if not os.path.samestat(os.lstat(real), status):
                    return False
            except OSError:
                return False
        return self._holds(real)

    def _holds(self, real: str) -> bool:
        """Return whether a resolved path lies below the root. The root is resolved again if it seems not to."""
        if (real + "/").startswith(self._real + "/") and self._real:
            return True
        self._real = os.path.realpath(self.directory or "/").rstrip("/")
        return (real + "/").startswith(self._real + "/")
