"""The service manager's protocol: state notifications (sd_notify(3)) and inherited sockets (sd_listen_fds(3))."""

from __future__ import annotations

import contextlib
import os
import socket
import time

_FIRST_DESCRIPTOR = 3


def inherited_sockets() -> list[socket.socket]:
    """Return the sockets that the service manager has passed to this process; its variables are removed."""
    environ = os.environ
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    sockets = []
    for number in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(count)):
        os.set_inheritable(number, False)
        sockets.append(socket.socket(fileno=number))
    return sockets


def notify(*states: str) -> None:
    """Send states such as `READY=1`, `RELOADING=1` or `STOPPING=1` to the service manager, if there is one."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    lines = list(states)
    if "RELOADING=1" in lines:
        lines.append(f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect("\0" + path[1:] if path.startswith("@") else path)
        sender.send("\n".join(lines).encode())
