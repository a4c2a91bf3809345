"""The control socket: `npserver reload` asks a running server over it to reload, and is told the outcome.

Its path is derived from the config file's path and the user, so both sides can compute it; that of a
systemd unit is in its runtime directory, /run/npserver, where root finds it too. The request is the line `reload`; the
answer is the `ReloadOutcome` as JSON. The line `flush` empties the cache of `dns_forward`, and is answered likewise;
`cli.bans` has requests of its own. Only the same user and root can connect.
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

import msgspec

from npserver.errors import StartError, reason_of
from npserver.network_sets.states import BanAnswer
from npserver.process.reload_outcome import ReloadOutcome

log = logging.getLogger("npserver.server")

REQUEST = b"reload\n"
FLUSH_REQUEST = b"flush\n"
BAN_REQUESTS = (b"bans\n", b"ban ", b"unban ")  # what a request about bans begins with
MAX_REQUEST = 256
ANSWER_WITHIN_S = 70.0  # more than both steps of a reload take at most
STOPPING = "the server is stopping"
UNKNOWN_REQUEST = "unknown request on the control socket"
_BACKLOG = 4


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


def _places(config_file: str) -> list[str]:
    """Return where the control socket may be: this user's place, then in the runtime directories of systemd units."""
    mine = control_path(config_file)
    return [mine, *sorted(set(glob(f"/run/npserver*/{_file_name(config_file)}")) - {mine})]


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


def _open(path: str) -> socket.socket:
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise OSError(errno.EPERM, "another user owns the directory")  # and could replace the socket
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
        pid = next((one for path in _places(config_file) if (one := _server_pid(path)) is not None), None)
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
    control.close()
    with contextlib.suppress(OSError):
        os.unlink(path)


def answer(caller: socket.socket, outcome: ReloadOutcome | BanAnswer) -> None:
    """Tell a caller the outcome, and close the connection."""
    with contextlib.suppress(OSError), caller:
        caller.settimeout(1.0)
        caller.sendall(msgspec.json.encode(outcome))


def ask_reload(config_file: str) -> ReloadOutcome:
    """Ask the running server to reload. Return the outcome. Raises: OSError when no server with this config answers."""
    data = _ask(config_file, REQUEST)
    if not data:
        return ReloadOutcome(["the server closed the connection without an answer"])
    return msgspec.json.decode(data, type=ReloadOutcome)


def ask_flush(config_file: str) -> ReloadOutcome:
    """Ask the running server to forget what resolvers have answered. Raises: OSError when no server answers."""
    data = _ask(config_file, FLUSH_REQUEST)
    return msgspec.json.decode(data, type=ReloadOutcome) if data else ReloadOutcome([STOPPING])


def ask_bans(config_file: str, request: str) -> BanAnswer:
    """Ask the running server about bans: `bans`, `ban ADDRESS` or `unban ADDRESS`. Raises: OSError."""
    data = _ask(config_file, f"{request}\n".encode())
    return msgspec.json.decode(data, type=BanAnswer) if data else BanAnswer(error=STOPPING)


def _ask(config_file: str, request: bytes) -> bytes:
    """Return the answer to a request; b"" if the server closes the connection without one. Raises: OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(ANSWER_WITHIN_S)
        _connect(caller, _places(config_file))
        caller.sendall(request)
        return b"".join(iter(lambda: caller.recv(65_536), b""))


def _connect(caller: socket.socket, paths: list[str]) -> None:
    """Connect to the first socket that is answered. Raises: OSError of the last."""
    for path in paths[:-1]:
        with contextlib.suppress(OSError):
            caller.connect(path)
            return
    caller.connect(paths[-1])


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
