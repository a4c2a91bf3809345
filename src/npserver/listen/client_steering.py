"""Which of the sockets of a datagram listener gets a client's datagrams: always the same one, whatever joins them.

The kernel chooses among the sockets of one address (SO_REUSEPORT) by a hash of the client's address modulo their
number. A socket that joins them, such as one for a single client (`listen.kept_clients`) or for one worker more, would
change the choice for all clients. `listen.binding` therefore gives the sockets a program that chooses among the first
of them only (Linux: socket(7), SO_ATTACH_REUSEPORT_CBPF). Where the system has no such programs, its own choice stays.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys

from npserver.listen.packet_filter import Instruction, attach_program

_SO_ATTACH_REUSEPORT_CBPF, _SO_DETACH_REUSEPORT_BPF = 51, 68  # asm-generic/socket.h
_NET = 0xFFF00000  # SKF_NET_OFF of linux/filter.h: offsets from here on are those of the IP header
_CONNECTED_LEAVE_SINCE = (6, 13)  # Linux: a connected socket is not among those of its address any more
_DISCARD_PORT = 9
_FACTOR = 0x9E3779B1  # Knuth's multiplicative hash
_BYTE, _HALF_AT_X, _HALF, _WORD = 0x30, 0x48, 0x28, 0x20  # A = the bytes at an offset
_KEEP_A, _A_TO_X, _KEPT_TO_X, _HEADER_TO_X, _XOR_X = 0x02, 0x07, 0x61, 0xB1, 0xAC
_AND, _XOR, _MULTIPLY, _SHIFT_RIGHT, _MODULO = 0x54, 0xA4, 0x24, 0x74, 0x94
_IF_EQUAL, _SKIP, _RETURN_A = 0x15, 0x05, 0x16


def steer(first: socket.socket, count: int) -> bool:
    """Let the first `count` sockets of an address share its clients, and none that joins later.

    `first` is the first of them, not bound yet: it can still be bound without SO_REUSEPORT. Return whether the system
    does it.
    """
    if sys.platform != "linux":
        return False
    try:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # the program is for sockets that have it
        _attach(first, count)
    except OSError:
        return False
    finally:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
    return True


def steer_more(bound: socket.socket, count: int) -> bool:
    """Let more sockets of an address share its clients than `steer` was told of. Return whether they are fixed again.

    Before Linux 6.13 those of single clients are among the first then: the kernel chooses among all.
    """
    with contextlib.suppress(OSError):
        if _linux_version() >= _CONNECTED_LEAVE_SINCE:
            _attach(bound, count)
            return True
        bound.setsockopt(socket.SOL_SOCKET, _SO_DETACH_REUSEPORT_BPF, 0)
    return False


def prefer_connected(bound: socket.socket) -> None:
    """Let the kernel look for a socket that is connected to a client before it chooses among these.

    It does so once one of them has been connected; before Linux 6.13 it does not otherwise.
    """
    with contextlib.suppress(OSError), socket.socket(bound.family, socket.SOCK_DGRAM) as one:
        os.fchown(one.fileno(), os.fstat(bound.fileno()).st_uid, -1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(bound.getsockname())
        one.connect((bound.getsockname()[0], _DISCARD_PORT))


def _attach(sock: socket.socket, count: int) -> None:
    attach_program(sock, _SO_ATTACH_REUSEPORT_CBPF, _program(count))


def _linux_version() -> tuple[int, ...]:
    return tuple(map(int, os.uname().release.split("-")[0].split(".")[:2]))


def _program(count: int) -> list[Instruction]:
    """Return a classic BPF program that maps a datagram's source address and port to a number below `count`.

    Nobody can choose ports that all map to one of them: the hash has a secret.
    """
    ipv4 = [
        (_WORD, 0, 0, _NET + 12),  # source address
        (_KEEP_A, 0, 0, 0),
        (_HEADER_TO_X, 0, 0, _NET),  # length of the IP header
        (_HALF_AT_X, 0, 0, _NET),  # source port
        (_KEPT_TO_X, 0, 0, 0),
        (_XOR_X, 0, 0, 0),
    ]
    ipv6 = [(_WORD, 0, 0, _NET + 8)]
    for load in [
        (_WORD, 0, 0, _NET + 12),
        (_WORD, 0, 0, _NET + 16),
        (_WORD, 0, 0, _NET + 20),
        (_HALF, 0, 0, _NET + 40),
    ]:
        ipv6 += [(_A_TO_X, 0, 0, 0), load, (_XOR_X, 0, 0, 0)]
    return [
        (_BYTE, 0, 0, _NET),
        (_AND, 0, 0, 0xF0),
        (_IF_EQUAL, 0, len(ipv4) + 1, 0x40),  # the version
        *ipv4,
        (_SKIP, 0, 0, len(ipv6)),
        *ipv6,
        (_XOR, 0, 0, int.from_bytes(os.urandom(4), "big")),
        (_MULTIPLY, 0, 0, _FACTOR),
        (_SHIFT_RIGHT, 0, 0, 16),
        (_MODULO, 0, 0, count),
        (_RETURN_A, 0, 0, 0),
    ]
