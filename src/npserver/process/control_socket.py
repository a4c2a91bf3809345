"""The control socket: `npserver reload` asks a running server over it to reload, and is told the outcome.

Its path is derived from the config file's path and the user, so both sides can compute it. The request is the line
`reload`; the answer is the `ReloadOutcome` as JSON. Only the same user and root can connect.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from hashlib import sha256

import msgspec

from npserver.process.reload_outcome import ReloadOutcome

REQUEST = b"reload\n"
ANSWER_WITHIN_S = 70.0  # more than both steps of a reload take at most
STOPPING = "the server is stopping"
UNKNOWN_REQUEST = "unknown request on the control socket"
_BACKLOG = 4


def control_path(config_file: str) -> str:
    """Return the path of the control socket of the server that runs with `config_file`."""
    name = sha256(os.path.realpath(config_file).encode(errors="surrogateescape")).hexdigest()[:16]
    return os.path.join(_directory(), f"npserver-{name}.sock")


def _directory() -> str:
    user = os.geteuid()
    if user == 0 and os.path.isdir("/run"):
        return "/run/npserver"
    if os.path.isdir(f"/run/user/{user}"):
        return f"/run/user/{user}"
    return f"/tmp/npserver-{user}"


def open_control(config_file: str) -> socket.socket | None:
    """Listen for requests. Return None if that fails, or if another server with this config already listens."""
    path = control_path(config_file)
    directory = os.path.dirname(path)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        status = os.lstat(directory)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            return None  # another user owns the directory, and could replace the socket
        if os.path.exists(path) and _is_answered(path):
            return None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    except OSError:
        return None
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
        return None
    return control


def close_control(control: socket.socket) -> None:
    """Stop listening and remove the socket file."""
    path = control.getsockname()
    control.close()
    with contextlib.suppress(OSError):
        os.unlink(path)


def answer(caller: socket.socket, outcome: ReloadOutcome) -> None:
    """Tell a caller the outcome of its reload, and close the connection."""
    with contextlib.suppress(OSError), caller:
        caller.settimeout(1.0)
        caller.sendall(msgspec.json.encode(outcome))


def ask_reload(config_file: str) -> ReloadOutcome:
    """Ask the running server to reload. Return the outcome. Raises: OSError when no server with this config answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(ANSWER_WITHIN_S)
        caller.connect(control_path(config_file))
        caller.sendall(REQUEST)
        data = b"".join(iter(lambda: caller.recv(65_536), b""))
    if not data:
        return ReloadOutcome(["the server closed the connection without an answer"])
    return msgspec.json.decode(data, type=ReloadOutcome)


def _is_answered(path: str) -> bool:
    """Return whether a server listens on the socket file `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.setblocking(False)
        try:
            caller.connect(path)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True
