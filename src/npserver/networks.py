"""Sets of IP networks: trusted proxies, allowed and denied clients, DNS views. Looked up for every connection.

`config.networks` compiles them from the config. An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`, RFC 4291 §2.5.5.2),
as dual-stack sockets report IPv4 peers, is treated as the IPv4 address. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Protocol

Network = IPv4Network | IPv6Network

UNIX_PEER = "unix:"  # the address of clients of Unix sockets

CLIENT_PREFIX = 64  # of an IPv6 address: a client has such a network, and can use any address of it

MAX_CACHED_ADDRESSES = 4096  # look-ups kept; most clients come back before this many others have come


def parse_network(text: str) -> Network:
    """Parse `192.0.2.0/24`, `2001:db8::/32` or a single address.

    Raises: ValueError with a message for the operator, also if bits are set beyond the prefix.
    """
    try:
        network = ip_network(text.strip())
    except ValueError:
        try:
            meant = ip_network(text.strip(), strict=False)
        except ValueError:
            raise ValueError("expected an address or a network such as 192.0.2.0/24") from None
        raise ValueError(f"has bits set beyond its prefix, did you mean {meant}?") from None
    if isinstance(network, IPv6Network) and network.prefixlen >= 96 and (mapped := network.network_address.ipv4_mapped):
        return IPv4Network((mapped, network.prefixlen - 96))
    return network


def is_ip_address(text: str) -> bool:
    """Whether a text is an IP address; one in brackets is not."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def plain_ip(text: str) -> str:
    """Return an address as people write it: IPv4-mapped IPv6 as IPv4, without an IPv6 zone (`%eth0`)."""
    if ":" not in text:
        return text
    text = text.partition("%")[0]
    return text[7:] if text.startswith("::ffff:") and "." in text else text


def client_network(ip: str) -> str:
    """Return what is one client: the IPv4 address itself, or the /64 of an IPv6 one; "" for no IP address."""
    try:
        address = ip_address(ip.partition("%")[0])
    except ValueError:
        return ""
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    host_bits = 128 - CLIENT_PREFIX
    return f"{IPv6Address(int(address) >> host_bits << host_bits)}/{CLIENT_PREFIX}"


class AddressSet(Protocol):
    """A set of IP addresses. `Networks` is the one that the config compiles to."""

    def __contains__(self, ip: str, /) -> bool: ...


class NetworkSet:
    """The addresses of a name that come from data: `current` is replaced while it is in use."""

    __slots__ = ("current", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.current: AddressSet = Networks(())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class Networks:
    """An immutable set of networks. `"192.0.2.7" in networks` costs one dict look-up for a cached address.

    `has_unix`: whether the clients of Unix sockets are in it.
    """

    __slots__ = ("_cache", "_masks", "has_unix", "networks")

    sets: tuple[NetworkSet, ...] = ()  # of `ChangingNetworks`

    def __init__(self, networks: Iterable[Network], *, has_unix: bool = False) -> None:
        self.has_unix = has_unix
        self.networks: tuple[Network, ...] = tuple(dict.fromkeys(networks))
        # Per IP version and prefix length: the right shift that drops the host bits, and the networks so shifted.
        self._masks: dict[int, list[tuple[int, frozenset[int]]]] = {4: [], 6: []}
        for version, bits in ((4, 32), (6, 128)):
            of_version = [network for network in self.networks if network.version == version]
            for length in sorted({network.prefixlen for network in of_version}):
                shift = bits - length
                bases = frozenset(int(one.network_address) >> shift for one in of_version if one.prefixlen == length)
                self._masks[version].append((shift, bases))
        self._cache: dict[str, bool] = {}

    def __contains__(self, ip: str) -> bool:
        """Return whether `ip` is in one of the networks; `UNIX_PEER` or "" is if `has_unix`."""
        known = self._cache.get(ip)
        return known if known is not None else self._look_up(ip)

    def __bool__(self) -> bool:
        return bool(self.networks) or self.has_unix

    def __repr__(self) -> str:
        return f"Networks({', '.join([*map(str, self.networks), *[UNIX_PEER] * self.has_unix])})"

    def includes(self, other: Networks) -> bool:
        """Return whether all addresses of `other` are surely in this one, now and later."""
        return (
            (self.has_unix or not other.has_unix)
            and set(other.sets) <= set(self.sets)
            and all(
                any(one.version == wide.version and one.subnet_of(wide) for wide in self.networks)  # type: ignore[arg-type]
                for one in other.networks
            )
        )

    def _look_up(self, ip: str) -> bool:
        try:
            address = ip_address(plain_ip(ip))
        except ValueError:
            return self.has_unix and ip in (UNIX_PEER, "")
        number = int(address)
        if address.version == 6 and number >> 32 == 0xFFFF:  # IPv4-mapped, written in hexadecimal
            number &= 0xFFFFFFFF
            masks = self._masks[4]
        else:
            masks = self._masks[address.version]
        found = any(number >> shift in bases for shift, bases in masks)
        if len(self._cache) >= MAX_CACHED_ADDRESSES:
            self._cache.clear()
        self._cache[ip] = found
        return found


class ChangingNetworks(Networks):
    """Networks, and sets that change while they are in use. `networks` has those that do not change."""

    __slots__ = ("sets",)

    def __init__(self, networks: Iterable[Network], sets: Iterable[NetworkSet], *, has_unix: bool = False) -> None:
        super().__init__(networks, has_unix=has_unix)
        self.sets = tuple(dict.fromkeys(sets))

    def __contains__(self, ip: str) -> bool:
        """Return whether `ip` is in one of the networks, or in one of the sets at present."""
        return super().__contains__(ip) or any(ip in one.current for one in self.sets)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"ChangingNetworks({', '.join([*map(str, self.networks), *[one.name for one in self.sets]])})"
