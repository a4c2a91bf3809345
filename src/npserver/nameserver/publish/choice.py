"""Chooses the addresses of a name for the clients of a view: those of its listeners that they can reach. Pure.

A listener on one address is reached there, unless that is private and the clients are not. One on all addresses is
reached at the machine's private address that is nearest to the clients, or from elsewhere at the public addresses,
which local names never have.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from msgspec import Struct

from npserver.nameserver.publish.plan import PublishedName, View, is_in
from npserver.networks import Network, is_ip_address
from npserver.tls.local_names import LOOPBACKS, PRIVATE_NETWORKS

Ip = IPv4Address | IPv6Address

_WILDCARDS = {4: {"", "0.0.0.0"}, 6: {"", "::"}}
_MACHINE_ITSELF: dict[int, Ip] = {4: IPv4Address("127.0.0.1"), 6: IPv6Address("::1")}


def addresses_for(name: PublishedName, view: View, public: Sequence[Ip], private: Sequence[Ip]) -> list[Ip]:
    """Return the addresses of a name for the clients of a view, IPv4 first; none if they can reach no listener.

    Args:
        public: the addresses at which clients on the internet reach this machine.
        private: those of its interfaces that are private, the likeliest first.
    """
    bound = [ip_address(host) for host in name.hosts if is_ip_address(host)]
    found: list[Ip] = []
    for version in (4, 6):
        own = [ip for ip in bound if ip.version == version and not ip.is_unspecified]
        machine = _Machine(
            is_asked=not _WILDCARDS[version].isdisjoint(name.hosts),
            public=[ip for ip in public if ip.version == version],
            private=[ip for ip in private if ip.version == version],
        )
        near = [one for one in view.networks if one.version == version]
        found += _of_version(view, own, machine, near, is_local=name.is_local, itself=_MACHINE_ITSELF[version])
    return found


class _Machine(Struct, frozen=True):
    """The addresses of one IP version that lead to this machine."""

    is_asked: bool  # whether a listener is on all of them
    public: list[Ip]
    private: list[Ip]


def _of_version(
    view: View, own: list[Ip], machine: _Machine, near: list[Network], *, is_local: bool, itself: Ip
) -> list[Ip]:
    """Return the addresses of one IP version; `own` are those of listeners, `near` the networks of the clients."""
    loopback = [ip for ip in own if is_in(ip, LOOPBACKS)]
    private = [ip for ip in own if is_in(ip, PRIVATE_NETWORKS)]
    reachable = [ip for ip in own if ip not in loopback and ip not in private]
    is_asked = machine.is_asked
    if view.is_loopback:
        candidates = [*loopback, *([itself] if is_asked else [])] or [*private, *reachable]
        return _nearest(candidates, near) if near else []
    if view.is_private or is_local:
        if view.networks and not near:
            return []  # these clients do not speak it
        candidates = [*private, *(machine.private if is_asked else [])]
        return _nearest(candidates, near) or reachable or (machine.public if is_asked and not is_local else [])
    return list(dict.fromkeys([*reachable, *(machine.public if private or is_asked else [])]))


def _nearest(candidates: list[Ip], networks: list[Network]) -> list[Ip]:
    """Return the address that is in one of the networks, else the one with most bits in common; the first of equals."""
    return [max(candidates, key=lambda ip: max([_bits(ip, one) for one in networks], default=0))] if candidates else []


def _bits(ip: Ip, network: Network) -> int:
    """Return how many of the network's bits the address begins with."""
    different = (int(ip) ^ int(network.network_address)) >> (network.max_prefixlen - network.prefixlen)
    return network.prefixlen - different.bit_length()
