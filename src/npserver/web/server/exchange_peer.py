"""What an exchange says of its client: the part of `web.exchange.Exchange` that is about the connection alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct

if TYPE_CHECKING:
    from npserver.web.exchange import PrivateUpstream
    from npserver.web.server.roles import ConnectionRole

C = TypeVar("C", bound="ConnectionRole")


class ExchangePeer(Struct, Generic[C], eq=False):
    """The client's connection, as an exchange shows it. The base of `web.server.exchange_base`."""

    connection: C

    @property
    def client_port(self) -> int:
        """The connection's source port."""
        return self.connection.client_port

    @property
    def peer_ip(self) -> str:
        """The address of the connection's other end."""
        return self.connection.client_ip

    @property
    def scheme(self) -> str:
        """The client's scheme: "http" or "https"."""
        return self.connection.scheme

    @property
    def local(self) -> tuple[str, int]:
        """The address and port the client reached."""
        return self.connection.local

    @property
    def connection_id(self) -> int:
        """The same for all exchanges of a connection."""
        return self.connection.id

    @property
    def private_upstreams(self) -> dict[object, Any] | None:
        """The connections to upstreams that carry this client's requests only."""
        return self.connection.private_upstreams

    def keep_upstream(self, key: object, connection: PrivateUpstream) -> None:
        """Keep a connection for later requests of this client only."""
        kept = self.connection.private_upstreams
        if kept is None:
            kept = self.connection.private_upstreams = {}
        if (older := kept.get(key)) is not None:
            older.close()
        kept[key] = connection

    @property
    def tls(self) -> object | None:
        """The connection's `ssl.SSLObject`."""
        found: object | None = self.connection.transport.get_extra_info("ssl_object")
        return found
