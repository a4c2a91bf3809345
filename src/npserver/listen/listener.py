"""A listener of the config, compiled: everything needed to bind its sockets and to accept on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from npserver.address import Address
from npserver.runtime.front import Live

if TYPE_CHECKING:
    from npserver.tls.certificates import ServerTls


class Listener(Struct, frozen=True):
    """One entry of `listen`, compiled."""

    key: str  # identifies it across reloads: its URI
    name: str
    address: Address
    backlog: int
    place: str  # "npserver.json:3:15" or "command line", for messages
    mode: int | None = None  # permissions of a Unix socket
    accepts_proxy: Callable[[str], bool] | None = None  # whether a peer address must send a PROXY header; None: nobody
    server_tls: ServerTls | None = None  # its certificates, chosen by name
    handshake_timeout_s: float = 10.0
    proxy_header_timeout_s: float = 5.0


class Accepting(Live, Protocol):
    """A live listener as the parts that accept for it see it: `listen.live_listener.LiveListener`."""

    @property
    def listener(self) -> Listener:
        """The listener, as of the last reload."""
