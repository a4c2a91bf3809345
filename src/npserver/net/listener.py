"""Listeners: what to listen on, the sockets of it, and serving them in one process."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from npserver.address import Address

if TYPE_CHECKING:
    from npserver.serve.context import Context
    from npserver.serve.front import DatagramFront, StreamFront


@dataclass(frozen=True, slots=True)
class Listener:
    """One entry of `listen`, compiled: everything needed to bind and accept."""

    key: str  # what tells it from others across reloads: its URI
    name: str
    address: Address
    backlog: int
    place: str  # "npserver.json:3:15" or "command line", for messages
    mode: int | None = None  # permissions of a Unix socket
    accepts_proxy: Callable[[str], bool] | None = None  # whether a peer address must send a PROXY header; None: nobody
    server_tls: ssl.SSLContext | None = None  # its certificates; chosen by SNI inside


class LiveListener:
    """A listener in one process: its front, which a reload replaces, and its socket."""

    __slots__ = ("context", "front", "listener")

    def __init__(self, listener: Listener, front: StreamFront | DatagramFront, context: Context) -> None:
        self.listener = listener
        self.front = front
        self.context = context
