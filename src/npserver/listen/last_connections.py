"""The last connections of a listener that ends: none begins any more, and those that have begun are accepted.

When the last descriptor of a listening socket is closed, the kernel resets the connections that wait in its queue, and
those whose handshake is under way. The owner of the sockets (`process.bindings`) therefore calls `take_no_more`; the
processes that serve them accept until `has_queued` finds nothing, and close.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import sys
from collections.abc import Collection, Iterable
from typing import Protocol

from npserver.listen.packet_filter import attach_program

HANDSHAKES_S = 0.1  # accepting continues this long after no client can begin to connect: handshakes are under way
QUEUE_WITHIN_S = 0.5  # then until no connection is queued, but no longer
TRANSPORTS_S = 0.005  # until the connections accepted last have their transports

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27  # asm-generic/socket.h
_SYN, _ACK = 0x02, 0x10

#: Over the TCP header: drops segments with SYN and without ACK.
_DROP_SYN = (
    (0x30, 0, 0, 13),  # A = the byte of flags
    (0x54, 0, 0, _SYN | _ACK),  # A &= SYN | ACK
    (0x15, 0, 1, _SYN),  # if A == SYN
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # else pass the whole segment
)


class Queue(Protocol):
    """A listener in one process."""

    @property
    def has_queued(self) -> bool:
        """Whether a client has connected that is not accepted yet."""


async def accept_queued(listeners: Collection[Queue]) -> None:
    """Wait until the connections that have begun or are queued are accepted, after `take_no_more`."""
    time = asyncio.get_running_loop().time
    deadline = time() + HANDSHAKES_S + QUEUE_WITHIN_S
    pause_s = HANDSHAKES_S
    while pause_s or (any(one.has_queued for one in listeners) and time() < deadline):
        await asyncio.sleep(pause_s)
        pause_s = 0.0


def take_no_more(listening: socket.socket) -> None:
    """Drop the SYN of each further client of a listening TCP socket, where the system can: Linux.

    A client sends its SYN again after a second: it then reaches whoever listens, or is refused. Connections that have
    begun are not affected.
    """
    if sys.platform != "linux" or listening.family == socket.AF_UNIX or listening.type != socket.SOCK_STREAM:
        return
    with contextlib.suppress(OSError):  # some sandboxes have no filters: clients that connect now are reset
        attach_program(listening, _SO_ATTACH_FILTER, _DROP_SYN)


def take_again(listening: socket.socket) -> None:
    """Undo `take_no_more`."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # it has no filter
            listening.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def has_queued(sockets: Iterable[socket.socket]) -> bool:
    """Return whether a connection waits to be accepted on one of these sockets; those of datagrams are left out."""
    poll = select.poll()
    for one in sockets:
        if one.type == socket.SOCK_STREAM and one.fileno() >= 0:
            poll.register(one.fileno(), select.POLLIN)
    return any(events & select.POLLIN for _, events in poll.poll(0))  # POLLHUP alone: it does not listen
