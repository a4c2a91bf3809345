"""What is counted for a client: its IPv4 address, or the network of its IPv6 address. Pure."""

from __future__ import annotations

from ipaddress import IPv6Address

from npserver.networks import plain_ip


def client_key(ip: str, ipv6_prefix: int) -> str:
    """Return the address of an IPv4 client, or the network of an IPv6 client: its first `ipv6_prefix` bits."""
    ip = plain_ip(ip)
    if ":" not in ip:
        return ip
    try:
        return f"{int(IPv6Address(ip)) >> 128 - ipv6_prefix:x}:"
    except ValueError:
        return ip  # `unix:`
