"""A name server that takes TXT records by signed updates (RFC 2136): its address, its zones, and the key."""

from __future__ import annotations

from msgspec import Struct

from npserver.dns.message.name import labels, parse_owner
from npserver.dns.message.tsig import TsigKey


class UpdateServer(Struct, frozen=True):
    """The server; names are text without a dot at the end, in lower case."""

    host: str
    port: int
    zones: tuple[str, ...]
    key: TsigKey  # its `repr` has no secret
    timeout_s: float = 30.0  # for one challenge, until the server answers the record
    propagation_s: float = 0.0  # to wait then
    key_at: str = "dns_update.key"  # the config key that gives the secret

    def __str__(self) -> str:
        return f"name server {self.host} port {self.port}"

    def zone_of(self, name: str) -> str | None:
        """Return the zone that a name lies in, the longest one; None if it lies in none."""
        try:
            parts = labels(parse_owner(name).lower())
        except ValueError:
            return None
        found = [zone for zone in self.zones if _ends_in(parts, labels(parse_owner(zone)))]
        return max(found, key=len, default=None)


def _ends_in(parts: list[bytes], zone: list[bytes]) -> bool:
    return not zone or parts[-len(zone) :] == zone
