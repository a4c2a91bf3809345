"""Finds what a path leads to in a `fastcgi` rule: a script, a file to send, or neither.

A script is run only if it is a regular file below the root. A path is split after the first one that is; nothing is
left for the FastCGI server to search, so that `/upload/photo.jpg/x.php` never makes it run a photo as PHP.
"""

from __future__ import annotations

import os
import stat
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.web.handlers.static.root import FileError, decode_path, is_hidden

if TYPE_CHECKING:
    from collections.abc import Iterator

    from npserver.web.handlers.static.root import Root

#: Lower case of ASCII alone, which leaves every character at its place: that of `İ` has two.
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
MAX_KEPT = 2048  # paths whose result is kept
MAX_KEPT_PATH = 512  # characters; longer ones are looked up each time


class Script(Struct, eq=False):
    """A script, and the parts of the path that lead to it. Nothing is changed but the cache `variables`."""

    name: bytes  # SCRIPT_NAME: the decoded path of the script, as clients know it
    file: bytes  # its path below the root, which begins with a slash
    info: bytes = b""  # PATH_INFO: the decoded rest of the path
    variables: bytes = b""  # cache of `web.handlers.fastcgi.params`


class Found(Enum):
    """What a path leads to, if not to a script."""

    FILE = "a file or a directory with an index file"
    DIRECTORY = "a directory without the slash at its end"


Target = Script | Found | FileError


class Scripts:
    """The scripts of one rule.

    Args:
        root: the directory of scripts and files.
        prefix: canonical, removed from the path of requests.
        endings: of scripts, in lower case: `.php`.
        index: names of scripts and files for a directory.
        fallback: path below the root of the script for paths that no file has; empty: none.
        shows_hidden: whether names that start with a dot are found.
        check_interval_s: how long a result is trusted.
    """

    __slots__ = (
        "_check_interval_s", "_endings", "_fallback", "_front", "_index", "_kept", "_mount", "_prefix", "_root",
        "_shows_hidden",
    )  # fmt: skip

    def __init__(
        self,
        root: Root,
        prefix: str,
        endings: tuple[str, ...],
        index: tuple[str, ...],
        fallback: str,
        *,
        shows_hidden: bool,
        check_interval_s: float,
    ) -> None:
        self._root = root
        self._prefix = prefix
        self._mount = decode_path(prefix) or ""
        self._endings = endings
        self._index = index
        self._fallback = fallback
        self._shows_hidden = shows_hidden
        self._check_interval_s = check_interval_s
        self._kept: dict[str, tuple[float, Target]] = {}  # by path: until when it is trusted, and the result
        self._front: tuple[float, Target | None] = 0.0, None  # the same for the fallback, to which most paths may lead

    def __repr__(self) -> str:
        return f"<Scripts {self._root}>"

    @property
    def directory(self) -> str:
        """The directory of scripts and files, without a slash at its end."""
        return self._root.directory

    def find(self, path: str) -> Target:
        """Return what the canonical path of a request leads to."""
        now = monotonic()
        kept = self._kept.get(path)
        if kept is not None and kept[0] > now:
            return kept[1]
        found = self._find(path)
        if len(path) <= MAX_KEPT_PATH and self._check_interval_s:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[path] = now + self._check_interval_s, found
        return found

    def is_script(self, name: str) -> bool:
        """Return whether a file is a script by its name."""
        return name.translate(_LOWER).endswith(self._endings)

    def _find(self, path: str) -> Target:
        path = path[len(self._prefix) :]
        name = decode_path(path)
        if name is None:
            return self._find_before_slash(path)
        if name and name[0] != "/":
            return self._find_fallback()  # the `*` of OPTIONS
        found = self._find_script(name)
        if found is None:
            is_kept_back = self._is_hidden(name) or self.is_script(name)
            found = FileError.MISSING if is_kept_back else self._find_file(name)
            if found is FileError.MISSING:
                return self._find_fallback()
        return found

    def _find_before_slash(self, path: str) -> Target:
        """Return what a path with an encoded slash leads to. No file name has one: it can only be in PATH_INFO."""
        from urllib.parse import unquote_to_bytes  # rarely needed, and slow to import

        cut = path.rfind("/", 0, max(path.find("%2F"), 0))
        name = decode_path(path[: max(cut, 0)])
        found = self._find_script(name) if name else None
        if isinstance(found, Script):
            found.info += unquote_to_bytes(path[cut:])
            return found
        return found if isinstance(found, FileError) else self._find_fallback()

    def _find_script(self, name: str) -> Target | None:
        """Return the first script in a path, or why it cannot be run; None if the path does not name one."""
        is_named = False
        for end in self._ends(name):
            is_named = True
            if self._is_hidden(name[:end]):
                break
            status = self._root.stat(name[:end])
            if isinstance(status, FileError):
                if status is not FileError.MISSING:
                    return status
                break
            if stat.S_ISREG(status.st_mode):
                return self._script(name[:end], name[end:])
            if not stat.S_ISDIR(status.st_mode):
                break
        if not is_named:
            return None
        if self.is_script(name) or self._is_hidden(name):
            return FileError.MISSING
        return self._find_file(name)  # a directory may be named like a script

    def _is_hidden(self, name: str) -> bool:
        return not self._shows_hidden and is_hidden(name)

    def _ends(self, name: str) -> Iterator[int]:
        """Return where the segments that are named like scripts end."""
        folded = name.translate(_LOWER)
        if not any(ending in folded for ending in self._endings):
            return
        end = 0
        while end < len(name):
            end = name.find("/", end + 1)
            if end < 0:
                end = len(name)
            if folded[:end].endswith(self._endings):
                yield end

    def _find_file(self, name: str) -> Target:
        """Return what is at a path that is not named like a script."""
        status = self._root.stat(name)
        if isinstance(status, FileError):
            return status
        if stat.S_ISREG(status.st_mode):
            return Found.FILE
        if not stat.S_ISDIR(status.st_mode):
            return FileError.MISSING
        if not self._root.has(name):
            return FileError.OUTSIDE
        directory = name if name.endswith("/") else f"{name}/"
        for index in self._index:
            status = self._root.stat(directory + index)
            if status is FileError.FORBIDDEN:
                return FileError.FORBIDDEN  # the directory may not be searched
            if not isinstance(status, FileError) and stat.S_ISREG(status.st_mode):
                if directory != name:
                    return Found.DIRECTORY
                return self._script(name + index) if self.is_script(index) else Found.FILE
        return FileError.MISSING

    def _find_fallback(self) -> Target:
        if not self._fallback:
            return FileError.MISSING
        fresh_until, kept = self._front
        if kept is not None and fresh_until > monotonic():
            return kept
        found = self._look_at_fallback()
        self._front = monotonic() + self._check_interval_s, found
        return found

    def _look_at_fallback(self) -> Target:
        status = self._root.stat(self._fallback)
        if isinstance(status, FileError):
            return status
        return self._script(self._fallback) if stat.S_ISREG(status.st_mode) else FileError.MISSING

    def _script(self, file: str, info: str = "") -> Script | FileError:
        """Return an existing script, if it may be run."""
        if not self._root.has(file):
            return FileError.OUTSIDE
        return Script(os.fsencode(self._mount + file), os.fsencode(file), os.fsencode(info))
