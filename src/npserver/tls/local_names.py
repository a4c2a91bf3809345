"""Names that no public authority certifies: those of home and office networks, and private addresses.

Pure. The root of the local authority that people trust may sign these names only, see `tls.authority`.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address

from npserver.networks import Network, is_ip_address

#: These, and all names below them: RFC 6761 (localhost, test), RFC 6762 §3 and appendix G (local; home, internal, lan),
#: RFC 8375 (home.arpa).
LOCAL_DOMAINS = ("localhost", "local", "home", "home.arpa", "internal", "lan", "test")

#: Networks whose addresses reach nobody outside: private and link-local ones, and those that providers use inside
#: (RFC 6598).
PRIVATE_NETWORKS: tuple[Network, ...] = (
    IPv4Network("10.0.0.0/8"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv4Network("100.64.0.0/10"),
    IPv4Network("169.254.0.0/16"),
    IPv6Network("fc00::/7"),
    IPv6Network("fe80::/10"),
)
LOOPBACKS: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
LOCAL_NETWORKS = (*LOOPBACKS, *PRIVATE_NETWORKS)


def is_local_name(name: str) -> bool:
    """Whether a host name in lower case, which may be a wildcard, or an IP address is local."""
    try:
        address = ip_address(name)
    except ValueError:
        return any(name == domain or name.endswith(f".{domain}") for domain in LOCAL_DOMAINS)
    return any(address in network for network in LOCAL_NETWORKS)


def normal_name(name: str) -> str:
    """Return a name, or an IP address as it is usually written."""
    return str(ip_address(name)) if is_ip_address(name) else name
