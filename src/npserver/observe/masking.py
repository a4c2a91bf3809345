"""Hide a part of client addresses and targets from logs (`hide`)."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

PREFIXES = {4: 24, 6: 64}  # bits of an address that are kept


@lru_cache(1024)
def mask_address(address: str) -> str:
    """Return the first address of the network of a client: 24 bits of IPv4, 64 of IPv6. Other texts stay as they are.

    IPv6 addresses that stand for IPv4 are masked as IPv4.
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:  # such as the name for clients over a Unix socket
        return address
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return str(ip_network((found, PREFIXES[found.version]), strict=False).network_address)


def mask_endpoint(endpoint: str) -> str:
    """Return `192.0.2.7:4711` or `[2001:db8::7]:4711` with a masked address, and with 0 for its port."""
    masked = mask_address(endpoint)
    host, colon, port = endpoint.rpartition(":")
    if masked != endpoint or not colon or not port.isdecimal() or host.startswith("/"):
        return masked
    return f"[{mask_address(host[1:-1])}]:0" if host.startswith("[") else f"{mask_address(host)}:0"


def without_query(url: str) -> str:
    """Return a target or the value of a Referer without its query, and without the fragment behind it."""
    return url.partition("?")[0]
