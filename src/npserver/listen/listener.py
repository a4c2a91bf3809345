"""A compiled entry of `listen`: everything needed to bind its sockets and to accept connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.address import Address
from npserver.port_range import PortRange

if TYPE_CHECKING:
    from npserver.tls.certificates import ServerTls


class Listener(Struct, frozen=True):
    """A listener of the config."""

    key: str  # its URI; identifies the listener across reloads
    name: str
    address: Address
    backlog: int
    place: str  # where it is configured, for messages: "npserver.json:3:15" or "command line"
    mode: int | None = None  # permissions of a Unix socket
    accepts_proxy: Callable[[str], bool] | None = None  # whether a peer must send a PROXY header; None: none may
    plain_http2: bool = False  # clients may speak HTTP/2 without TLS
    http3: bool = False
    port_of: str = ""  # the key of the listener whose port it has, if its own is 0
    server_tls: ServerTls | None = None  # its certificates, chosen by server name
    handshake_timeout_s: float = 10.0
    proxy_header_timeout_s: float = 5.0
    #: Called with the address of a peer from which no PROXY header is accepted; None: nobody wants to know.
    on_strange_peer: Callable[[str], None] | None = None
    ports: PortRange | None = None  # the range that it is one of; they share their place, name and counters

    @property
    def group(self) -> str:
        """What it is counted as: its key, or the range of ports that it is one of."""
        return self.key if self.ports is None else str(self.ports)

    @property
    def is_shown(self) -> bool:
        """Whether it stands in tables: of a range only the first one does, for all."""
        return self.ports is None or self.address.port == self.ports.first

    @property
    def offers_http2(self) -> bool:
        """Whether clients can speak HTTP/2, with TLS or without."""
        return self.plain_http2 or (self.server_tls is not None and self.server_tls.offers_http2)
