"""Where the directory of a cache is, for the server and for `npserver purge`.

/dev/shm/npserver-cache-<hash of the config file's path>    of a server with a config file
/dev/shm/npserver-cache-of-<hash of the server's seed>      of one without: nothing but itself tells it from others
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from hashlib import blake2b
from time import time
from typing import TYPE_CHECKING, Literal

from npserver.regex import regex

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.web.handlers.proxy.cache.config import ResponseCache

MEMORY = "/dev/shm"  # a file system in memory on Linux
NO_SEED = b""  # of no running server: the config has a file
_HELD = ".held"  # is locked for as long as the server runs
_OF_A_SERVER = regex("npserver-cache-of-[0-9a-f]{16}")
_NEW_S = 60.0  # a directory that is younger may not be locked yet


def memory_directory(document: Document, seed: bytes) -> str:
    """Return the directory in memory for the server that runs with a config. `seed`: random, of the server."""
    if document.has_file:
        name = os.path.realpath(document.file).encode(errors="surrogateescape")
        return f"{_base()}/npserver-cache-{blake2b(name, digest_size=8).hexdigest()}"
    return f"{_base()}/npserver-cache-of-{blake2b(seed, digest_size=8, person=b'response cache').hexdigest()}"


def directory_of(document: Document, cache: ResponseCache | Literal[True], seed: bytes) -> str:
    """Return the directory of a cache."""
    if cache is True or cache.directory is None:
        return memory_directory(document, seed)
    return os.path.abspath(document.resolve(cache.directory))


def open_mark(directory: str, name: str) -> int:
    """Open a file that is there for its lock or its time alone; make it if it is not there. Raises: OSError."""
    return os.open(os.path.join(directory, name), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def hold(directory: str) -> int:
    """Show that the server of a directory in memory runs. Return the file, which is locked while it is open.

    Raises: OSError.
    """
    file = open_mark(directory, _HELD)
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def remove_abandoned() -> None:
    """Remove the directories of servers without a config file that were killed: no other would use them again."""
    for one in os.scandir(_base()):
        if not _OF_A_SERVER.fullmatch(one.name):
            continue
        with contextlib.suppress(OSError):
            status = one.stat(follow_symlinks=False)
            if status.st_uid != os.geteuid() or time() - status.st_ctime < _NEW_S:
                continue
            file = open_mark(one.path, _HELD)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(one.path, ignore_errors=True)
            finally:
                os.close(file)


def _base() -> str:
    return MEMORY if os.path.isdir(MEMORY) else os.environ.get("TMPDIR", "/tmp")
