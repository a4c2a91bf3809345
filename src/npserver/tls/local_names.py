"""Names that no public authority certifies: those of home and office networks, and private addresses.

Pure. The root of the local authority that people trust may sign these names only, see `tls.authority`.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

#: These, and all names below them: RFC 6761 (localhost, test), RFC 6762 §3 and appendix G (local; home, internal, lan),
#: RFC 8375 (home.arpa).
LOCAL_DOMAINS = ("localhost", "local", "home", "home.arpa", "internal", "lan", "test")

#: Loopback, private, link-local, and those that providers use inside (RFC 6598).
LOCAL_NETWORKS: tuple[IPv4Network | IPv6Network, ...] = tuple(
    map(
        ip_network,
        (
            "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10",
            "::1/128", "fc00::/7", "fe80::/10",
        ),
    )
)  # fmt: skip


def is_local_name(name: str) -> bool:
    """Whether a host name in lower case, which may be a wildcard, or an IP address is local."""
    try:
        address = ip_address(name)
    except ValueError:
        return any(name == domain or name.endswith(f".{domain}") for domain in LOCAL_DOMAINS)
    return any(address in network for network in LOCAL_NETWORKS)


def is_ip_address(text: str) -> bool:
    """Whether a text is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
