"""Binds Unix sockets to their files, and removes those that a program has left behind. Called by `listen.binding`."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat


def bind_unix(path: str, kind: socket.SocketKind, mode: int | None) -> socket.socket:
    """Return a socket bound to a path, whose file has these permissions; None: as the process makes files. Raises:
    OSError."""
    _remove_stale(path, kind)
    one = socket.socket(socket.AF_UNIX, kind)
    previous = os.umask(0o177) if mode is not None else None
    try:
        one.setblocking(False)
        one.bind(path)
        if mode is not None:
            os.chmod(path, mode)
    except OSError:
        one.close()
        raise
    finally:
        if previous is not None:
            os.umask(previous)
    return one


def _remove_stale(path: str, kind: socket.SocketKind) -> None:
    """Remove a socket file that no program listens on. Raises: OSError if one does, or it is not a socket."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
    with socket.socket(socket.AF_UNIX, kind) as caller:
        caller.setblocking(False)
        try:
            caller.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EPROTOTYPE):
                raise
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def file_identity(path: str) -> tuple[int, int] | None:
    """Return what tells a file from one that is put in its place; None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino)
