"""Finds the program that listens on a port, for error messages. Linux only; other users' programs only as root."""

from __future__ import annotations

import os
from collections.abc import Iterator

_TCP_LISTEN = "0A"  # state column of /proc/net/tcp


def name_port_owner(port: int, *, is_stream: bool) -> str:
    """Return `nginx (pid 123)` for the process that listens on `port`; "" if it cannot be found."""
    inodes = set(_inodes(port, is_stream))
    if not inodes:
        return ""
    links = {f"socket:[{inode}]" for inode in inodes}
    for pid in _listing("/proc"):
        if not pid.isdigit() or int(pid) == os.getpid():
            continue
        for number in _listing(f"/proc/{pid}/fd"):
            try:
                if os.readlink(f"/proc/{pid}/fd/{number}") in links:
                    return f"{_read(f'/proc/{pid}/comm').strip() or 'a program'} (pid {pid})"
            except OSError:
                continue
    return ""


def _inodes(port: int, is_stream: bool) -> Iterator[str]:
    """Yield the inodes of the sockets on a local port, from /proc/net."""
    for table in ("tcp", "tcp6") if is_stream else ("udp", "udp6"):
        for line in _read(f"/proc/net/{table}").splitlines()[1:]:
            columns = line.split()
            if int(columns[1].rpartition(":")[2], 16) == port and (not is_stream or columns[3] == _TCP_LISTEN):
                yield columns[9]


def _listing(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
