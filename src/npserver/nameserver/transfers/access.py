"""Who may transfer which zone: `allow_transfer` of zones and rules. Looked up for each request of a transfer. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from npserver.networks import AddressSet


class AccessList(Struct, frozen=True):
    """The clients that a key of the config names."""

    place: str  # of that key, for the log
    networks: AddressSet | None = None
    keys: frozenset[bytes] = frozenset()  # names of keys that requests are signed with

    def allows(self, client: str, key: bytes | None) -> bool:
        """Whether a request is let in. `key`: the name of the key that has signed it."""
        return key in self.keys or (self.networks is not None and client in self.networks)


class TransferAccess(Struct, frozen=True):
    """The clients of one listener that may transfer zones."""

    default: AccessList
    zones: Mapping[bytes, AccessList] = field(default_factory=dict)  # of zones with a list of their own, by apex

    def of_zone(self, apex: bytes) -> AccessList:
        """Return who may transfer a zone."""
        return self.zones.get(apex, self.default)
