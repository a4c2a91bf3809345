"""Tidies the directory of a response cache: evicts what was unused for longest, removes leftovers, and purges.

Blocking: called in threads by workers, and by the command `npserver purge`. One process at a time evicts.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

from msgspec import Struct

from npserver.regex import regex
from npserver.web.handlers.proxy.cache.directory import open_mark
from npserver.web.handlers.proxy.cache.entry import read_entry

NEW = ".new"  # responses that are being received
PURGED = ".purged"  # its time is that of the last purge
TURN = ".tidy"  # whoever has locked it evicts
_FREED = 10  # a tenth of a full directory is freed at once
_FOLDER = regex("[0-9a-f]{2}")
_FILE = regex(r"[0-9a-f]{40}(?:-[0-9a-f]+)?(?:\.[0-9]+)?")  # others are not the cache's, and stay


class Found(Struct):
    """What a directory holds after it was tidied."""

    size: int = 0  # bytes
    entries: int = 0
    evicted: int = 0  # how many responses were removed, and their bytes
    evicted_bytes: int = 0


def tidy(directory: str, max_bytes: int, max_entries: int) -> Found | None:
    """Evict and remove leftovers. None: another process does. Raises: OSError."""
    turn = open_mark(directory, TURN)
    try:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        return _tidy(directory, max_bytes, max_entries)
    finally:
        os.close(turn)


def _tidy(directory: str, max_bytes: int, max_entries: int) -> Found:
    found = Found(size=_remove_leftovers(os.path.join(directory, NEW)))
    files: list[tuple[int, int, str]] = []
    for path in _paths(directory):
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(path, follow_symlinks=False)
            files.append((max(status.st_atime_ns, status.st_mtime_ns), status.st_size, path))
            found.size += status.st_size
            found.entries += 1
    if found.size + max_bytes // _FREED <= max_bytes and found.entries + max_entries // _FREED <= max_entries:
        return found
    most_bytes, most_entries = max_bytes - max_bytes // _FREED, max_entries - max(max_entries // _FREED, 1)
    files.sort()
    for _, size, path in files:
        if found.size <= most_bytes and found.entries <= most_entries:
            break
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue
        found.size -= size
        found.entries -= 1
        found.evicted += 1
        found.evicted_bytes += size
    return found


def _remove_leftovers(directory: str) -> int:
    """Remove what dead processes were receiving. Return the bytes of what others are receiving."""
    size = 0
    for one in os.scandir(directory):
        if not _FILE.fullmatch(one.name):
            continue
        with contextlib.suppress(OSError):
            file = os.open(one.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    size += os.fstat(file).st_size
                    continue
                if os.path.samestat(os.fstat(file), os.stat(one.path, follow_symlinks=False)):
                    os.unlink(one.path)
            finally:
                os.close(file)
    return size


def _paths(directory: str) -> list[str]:
    found: list[str] = []
    for folder in os.scandir(directory):
        if _FOLDER.fullmatch(folder.name) and folder.is_dir(follow_symlinks=False):
            files = os.scandir(folder.path)
            found += [one.path for one in files if _FILE.fullmatch(one.name) and one.is_file(follow_symlinks=False)]
    return found


def find_stranger(directory: str) -> str | None:
    """Return the name of a file in a directory that no cache has used yet; None if it has, or if it is empty.

    Raises: OSError.
    """
    names = sorted(set(os.listdir(directory)) - {"lost+found"})  # the latter: of a file system's root
    return names[0] if names and TURN not in names and NEW not in names else None


def purge(directory: str, url: str, *, is_prefix: bool) -> int:
    """Remove the responses for a URL, or for all that begin with it. Return how many. Raises: OSError.

    Responses that are being received are not kept.
    """
    if not os.path.isdir(directory):
        return 0
    mark = open_mark(directory, PURGED)
    os.utime(mark)
    os.close(mark)
    count = 0
    for path in _paths(directory):
        entry = read_entry(path)
        if entry is None or not entry.head.status:
            continue
        if entry.head.url.startswith(url) if is_prefix else entry.head.url == url:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
                count += 1
    return count
