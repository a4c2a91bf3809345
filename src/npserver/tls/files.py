"""The files of certificates and keys, for processes that may not read them any more.

Workers that run as another user have given up the right to read private keys, and often to see them. The master has
not: it reads the files anew and supplies their contents, over the control channel and never on disk. A process without
supplies reads the files themselves.
"""

from __future__ import annotations

import contextlib
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator

#: What tells one state of a file from another: time of change, inode, size.
FileState = tuple[int, int, int]

MAX_FILE_BYTES = 4 << 20  # of one file; the largest bundles of authorities are a quarter of it
_UNSEEN: FileState = (0, 0, 0)

#: Contents by path, as JSON can say it: the state, then the data in base64.
Supplies = dict[str, tuple[FileState, str]]


class TlsFiles:
    """The files that a process has used, and what it was supplied with in their place."""

    __slots__ = ("_supplied", "used")

    def __init__(self) -> None:
        self.used: set[str] = set()
        self._supplied: dict[str, tuple[FileState, bytes]] = {}

    def __repr__(self) -> str:
        return f"<TlsFiles {len(self.used)} used, {len(self._supplied)} supplied>"

    def supply(self, contents: Supplies) -> None:
        """Use these contents from now on, whatever the files hold."""
        for file, (state, text) in contents.items():
            changed, inode, size = state
            self._supplied[file] = (changed, inode, size), b64decode(text)

    def is_supplied(self, file: str) -> bool:
        """Whether the contents of `file`, an absolute path, were supplied."""
        return file in self._supplied

    def contents(self) -> Supplies:
        """Read all files used so far, for a process to be supplied with. What cannot be read is left out."""
        found: Supplies = {}
        for file in sorted(self.used):
            with contextlib.suppress(OSError):
                found[file] = self.state(file), b64encode(self.read(file)).decode()
        return found

    def read(self, file: str) -> bytes:
        """Give what is in `file`, an absolute path. Raises: OSError."""
        self.used.add(file)
        if file in self._supplied:
            return self._supplied[file][1]
        with open(file, "rb") as stream:
            return stream.read(MAX_FILE_BYTES)

    def state(self, file: str) -> FileState:
        """The state of `file`; all zero for one that cannot be seen."""
        if file in self._supplied:
            return self._supplied[file][0]
        try:
            status = os.stat(file)
        except OSError:
            return _UNSEEN
        return (status.st_mtime_ns, status.st_ino, status.st_size)

    @contextlib.contextmanager
    def readable(self, file: str) -> Iterator[str]:
        """Give a path under which OpenSSL can read `file`: its own, or while it lasts that of a copy in memory."""
        self.used.add(file)
        if file not in self._supplied:
            yield file
            return
        data = self._supplied[file][1]
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("npserver-tls", os.MFD_CLOEXEC)
            try:
                with open(descriptor, "wb", closefd=False) as copy:
                    copy.write(data)
                yield f"/proc/self/fd/{descriptor}"
            finally:
                os.close(descriptor)
        else:
            import tempfile

            with tempfile.NamedTemporaryFile() as copy:  # readable by its owner alone
                copy.write(data)
                copy.flush()
                yield copy.name
