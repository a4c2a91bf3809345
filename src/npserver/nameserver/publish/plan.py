"""The names that rules publish, and what is fixed about them; the views that they are published in. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from msgspec import Struct

from npserver.networks import Network

HTTPS_PORT = 443


class PublishedName(Struct, frozen=True):
    """A host of rules with `publish`."""

    key: bytes  # the name in lower case, in wire form
    text: str
    hosts: tuple[str, ...]  # what its listeners are bound to: addresses, "0.0.0.0", "::", or "" for all
    alpn: tuple[str, ...] = ()  # what its https listener offers; (): it has none, and no HTTPS record
    port: int = HTTPS_PORT  # of that listener
    certified_by: tuple[str, ...] = ()  # values of CAA that allow the CAs of its certificate; (): there is no record
    is_local: bool = False  # a name such as nas.home, which has no meaning on the internet


class View(Struct, frozen=True):
    """The clients that are answered from the same records."""

    networks: tuple[Network, ...] = ()  # theirs; for all other clients: the addresses that they ask at, if known
    is_private: bool = False  # all are in private networks, or on this machine
    is_loopback: bool = False  # all are on this machine
    name: str = ""  # for messages; "": all other clients


class Plan(Struct, frozen=True):
    """Everything that is published."""

    names: tuple[PublishedName, ...]
    views: tuple[View, ...]  # in the order of `dns_views`; the last one is for all other clients
    ttl: int  # seconds

    def needs_machine_addresses(self) -> bool:
        """Whether an address of an interface may be published: a listener is on all of them."""
        wildcards = {"", "0.0.0.0", "::"}
        return any(not wildcards.isdisjoint(one.hosts) for one in self.names)


def within(network: Network, others: tuple[Network, ...]) -> bool:
    """Return whether a network lies in one of others."""
    return any(one.version == network.version and network.subnet_of(one) for one in others)  # type: ignore[arg-type]


def is_in(ip: IPv4Address | IPv6Address, networks: Iterable[Network]) -> bool:
    """Return whether an address lies in one of the networks."""
    return any(one.version == ip.version and ip in one for one in networks)
