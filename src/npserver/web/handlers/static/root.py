"""From a request's path to a file below a root, and never to one outside it.

Used by `web.handlers.static.handler` alone. What names a file is decided on the name; whether the file is inside is
decided on the open descriptor, so that no link or directory swapped in between can lead elsewhere."""

from __future__ import annotations

import errno
import os
import stat
from enum import Enum

#: Nothing here may block on a FIFO, become our terminal, or stay open in a child.
_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_BUSY = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO})
_ALWAYS_SHOWN = ".well-known"  # RFC 8615

#: What tells that a file is still the one looked at before.
Identity = tuple[int, int, int, int, int]


class Lack(Enum):
    """Why there is no file to serve, with the status that says so."""

    MISSING = 404
    FORBIDDEN = 403
    OUTSIDE = 403, "the path leaves the root by a symbolic link"
    CHANGING = 503, "the file keeps changing"
    BUSY = 503, "out of descriptors or memory"

    def __init__(self, status: int, reason: str = "") -> None:
        self.status = status
        self.reason = reason


def identity(status: os.stat_result) -> Identity:
    """Device, inode, size and times in nanoseconds: equal only if nobody touched the file."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def decode_path(path: str) -> str | None:
    """Give the file name of a canonical URL path; None if it cannot be one: an encoded slash, NUL, dot segments."""
    if "%" in path:
        from urllib.parse import unquote_to_bytes  # rarely needed: a start is shorter without

        wire = unquote_to_bytes(path)
        if wire.count(b"/") != path.count("/") or b"\0" in wire:
            return None
        path = os.fsdecode(wire)
    if "/." in path and any(segment in (".", "..") for segment in path.split("/")):
        return None
    return path


def is_hidden(path: str) -> bool:
    """Whether a name in this path starts with a dot; `.well-known` does not count."""
    return "/." in path and any(segment.startswith(".") and segment != _ALWAYS_SHOWN for segment in path.split("/"))


def lack_of(error: OSError) -> Lack:
    """What a failed look at a file means for the client."""
    if isinstance(error, PermissionError):
        return Lack.FORBIDDEN
    return Lack.BUSY if error.errno in _BUSY else Lack.MISSING


class Root:
    """A directory whose files may be served. `directory` itself may be a link, even one that is changed."""

    __slots__ = ("_real", "directory", "follow_symlinks")

    def __init__(self, directory: str, *, follow_symlinks: bool = False) -> None:
        self.directory = os.path.abspath(directory).rstrip("/")  # "" for the root of everything
        self.follow_symlinks = follow_symlinks
        self._real = ""

    def __repr__(self) -> str:
        return f"<Root {self.directory or '/'}>"

    def stat(self, path: str) -> os.stat_result | Lack:
        """Look at `path`, which starts with a slash."""
        try:
            return os.stat(self.directory + path)
        except OSError as error:
            return lack_of(error)
        except ValueError:  # a name that no file system takes
            return Lack.MISSING

    def open_file(self, path: str) -> tuple[int, os.stat_result] | Lack:
        """Open a regular file inside the root: the descriptor, owned by the caller, and its status."""
        opened = self.open_again(path)
        if not isinstance(opened, Lack) and not self._is_inside(path, *opened):
            os.close(opened[0])
            return Lack.OUTSIDE
        return opened

    def open_again(self, path: str) -> tuple[int, os.stat_result] | Lack:
        """As `open_file`, but without looking where it lies: the caller compares its identity with one known inside."""
        try:
            file = os.open(self.directory + path, _OPEN_FLAGS)
        except OSError as error:
            return lack_of(error)
        except ValueError:
            return Lack.MISSING
        status = os.fstat(file)
        if stat.S_ISREG(status.st_mode):
            return file, status
        os.close(file)
        return Lack.MISSING

    def has_directory(self, path: str) -> bool:
        """Whether the directory `path` lies inside the root."""
        return self.follow_symlinks or self._holds(os.path.realpath(self.directory + path))

    def _is_inside(self, path: str, file: int, status: os.stat_result) -> bool:
        if self.follow_symlinks:
            return True
        try:
            real = os.readlink(f"/proc/self/fd/{file}")
        except OSError:  # not Linux: resolve by name, and see that it is the file that was opened
            real = os.path.realpath(self.directory + path)
            try:
                if not os.path.samestat(os.lstat(real), status):
                    return False
            except OSError:
                return False
        return self._holds(real)

    def _holds(self, real: str) -> bool:
        """Whether a resolved path lies below the root, which is resolved anew when it seems not to."""
        if (real + "/").startswith(self._real + "/") and self._real:
            return True
        self._real = os.path.realpath(self.directory or "/").rstrip("/")
        return (real + "/").startswith(self._real + "/")
