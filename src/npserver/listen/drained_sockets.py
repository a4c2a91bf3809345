"""The sockets of a drained listener: they stay bound, so that nobody else gets the address, but take no clients.

A TCP socket stops to listen (Linux: `shutdown`), and clients are refused: a load balancer goes on to the next server at
once. To listen again takes no privileges. A Unix socket cannot do that: its file gets another name. `listen.binding`
and `listen.live_listener` call this, in the master and in workers: the sockets are the same.
"""

from __future__ import annotations

import errno
import os
import socket
import sys

from npserver.listen.last_connections import take_again

ENDING = ".drained"  # of the file of a Unix socket meanwhile


def is_listening(sock: socket.socket) -> bool:
    """Whether clients can connect to a stream socket."""
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def refuse_clients(sock: socket.socket) -> None:
    """Refuse further clients of a TCP socket, and those that it has not accepted yet. Other sockets stay as they are.

    Raises: OSError where the system cannot.
    """
    if sock.type == socket.SOCK_STREAM and sock.family != socket.AF_UNIX and is_listening(sock):
        if not sys.platform.startswith("linux"):
            raise OSError(errno.EOPNOTSUPP, "clients wait until `undrain` on this system")
        sock.shutdown(socket.SHUT_RD)


def admit_clients(sock: socket.socket, backlog: int) -> None:
    """Let clients connect again to a TCP socket. Others stay as they are. Raises: OSError."""
    if sock.type == socket.SOCK_STREAM and sock.family != socket.AF_UNIX:
        take_again(sock)
        if not is_listening(sock):
            sock.listen(backlog)


def hide(path: str) -> None:
    """Give the file of a Unix socket another name: clients do not find it. Raises: OSError."""
    os.rename(path, path + ENDING)


def show(path: str) -> None:
    """Give it its own name again, if it has another. Raises: OSError, also if another program has a file there."""
    if os.path.lexists(path + ENDING):
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, f"{path} exists: another program has made it", path)
        os.rename(path + ENDING, path)
