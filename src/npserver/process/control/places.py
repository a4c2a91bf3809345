"""The places of the control socket, on which a running server takes commands.

One path is derived from the config file's path and the user, so both sides can compute it; that of a systemd unit is in
its runtime directory, /run/npserver, where root finds it too. The key `control` names a second place. Only the same
user and root can connect.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
import struct
from collections.abc import Iterator
from glob import glob
from hashlib import sha256

from npserver.config.control_place import place_fault, placed_control
from npserver.errors import ConfigError, StartError, reason_of

log = logging.getLogger("npserver.server")

_BACKLOG = 128  # a caller that finds it full is refused at once


def control_path(config_file: str) -> str:
    """Return the path of the control socket of a server of this user that runs with `config_file`."""
    return os.path.join(_directory(), _file_name(config_file))


def _file_name(config_file: str) -> str:
    name = sha256(os.path.realpath(config_file).encode(errors="surrogateescape")).hexdigest()[:16]
    return f"npserver-{name}.sock"


def _directory() -> str:
    if directory := os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]:  # of a systemd unit
        return directory
    user = os.geteuid()
    if user == 0 and os.path.isdir("/run"):
        return "/run/npserver"
    if os.path.isdir(f"/run/user/{user}"):
        return f"/run/user/{user}"
    return f"/tmp/npserver-{user}"


def places(config_file: str) -> Iterator[str]:
    """Yield where the control socket may be: this user's place, those in the runtime directories of systemd units, and
    the one that the config names.
    """
    mine = control_path(config_file)
    yield mine
    yield from sorted(set(glob(f"/run/npserver*/{_file_name(config_file)}")) - {mine})
    from npserver.config.load import load  # only where it is needed: a command should be fast

    with contextlib.suppress(ConfigError):
        document = load(config_file)
        if document.config.control is not None:
            yield placed_control(document)


def open_control(config_file: str) -> socket.socket | None:
    """Listen for requests. Return None, and log why, if that fails or another server with this config listens."""
    path = control_path(config_file)
    try:
        return _open(path)
    except OSError as error:
        log.warning(
            "no control socket at %s: %s; `npserver reload -config` cannot reach this server, SIGHUP reloads it",
            path, reason_of(error),
        )  # fmt: skip
        return None


def open_placed(path: str) -> socket.socket | None:
    """Listen for requests at the place that the config names. Return None, and log why, if that fails."""
    try:
        if fault := place_fault(path):
            raise OSError(errno.EPERM, fault)
        return _listen(path)
    except OSError as error:
        log.warning("no control socket at %s (control): %s", path, reason_of(error))
        return None


def _open(path: str) -> socket.socket:
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise OSError(errno.EPERM, "another user owns the directory")  # and could replace the socket
    return _listen(path)


def _listen(path: str) -> socket.socket:
    if os.path.exists(path) and _server_pid(path) is not None:
        raise OSError(errno.EADDRINUSE, "another server runs with this config")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        previous = os.umask(0o177)
        try:
            control.bind(path)
        finally:
            os.umask(previous)
        control.listen(_BACKLOG)
        control.setblocking(False)
    except OSError:
        control.close()
        raise
    return control


@contextlib.contextmanager
def explaining_second_start(config_file: str) -> Iterator[None]:
    """Bind sockets in it: if that fails while a server runs with this config, the StartError says so."""
    try:
        yield
    except StartError as error:
        pid = next((one for path in places(config_file) if (one := _server_pid(path)) is not None), None)
        if not config_file or pid is None:
            raise
        who = f" (pid {pid})" if pid else ""
        raise StartError(
            f"another npserver runs with {config_file} already{who}: `npserver reload -config {config_file}` makes it "
            f"read the file again; end it before you start another ({error})"
        ) from error


def close_control(control: socket.socket) -> None:
    """Stop listening and remove the socket file."""
    path = control.getsockname()
    with contextlib.suppress(OSError):
        os.unlink(path)
    control.close()


def _server_pid(path: str) -> int | None:
    """Return the pid of the server that listens on the socket file `path`, 0 if unknown; None if none listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.setblocking(False)
        try:
            caller.connect(path)
        except BlockingIOError:
            return 0
        except OSError:
            return None
        if not hasattr(socket, "SO_PEERCRED"):
            return 0
        pid: int = struct.unpack("3i", caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        return pid
