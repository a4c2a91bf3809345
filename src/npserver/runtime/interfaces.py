"""The addresses of this machine's network interfaces, read from the kernel.

Where the system has no netlink (rtnetlink(7)), only the addresses that packets to other networks leave from are known.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

from msgspec import Struct

_GET_ADDRESSES, _DONE, _ERROR = 22, 3, 2  # RTM_GETADDR, NLMSG_DONE, NLMSG_ERROR
_REQUEST_ALL = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_ADDRESS, _LOCAL, _FLAGS = 1, 2, 8  # IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS
_TEMPORARY, _DAD_FAILED, _DEPRECATED, _TENTATIVE = 0x01, 0x08, 0x20, 0x40  # IFA_F_*; the first only of IPv6
_ROUTED = (("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6))  # for documentation: nothing is sent


class InterfaceAddress(Struct, frozen=True):
    """One address of an interface."""

    ip: IPv4Address | IPv6Address
    is_temporary: bool = False  # made for privacy, for outgoing connections (RFC 8981)
    is_deprecated: bool = False  # for connections that exist: its prefix is about to end (RFC 4862 §5.5.4)


def interface_addresses() -> list[InterfaceAddress]:
    """Return the addresses of all interfaces but link-local ones, in the kernel's order.

    Left out are those that are not usable yet, and those that another machine has too.
    """
    found: list[InterfaceAddress] = []
    with contextlib.suppress(OSError, AttributeError, struct.error):
        found = list(_by_netlink())
    if not found:
        found = [InterfaceAddress(ip) for ip in routed_addresses()]
    return [one for one in found if not one.ip.is_link_local]


def routed_addresses() -> list[IPv4Address | IPv6Address]:
    """Return the addresses that packets to other networks leave from: at most one of each IP version."""
    found = []
    for target, family in _ROUTED:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            found.append(ip_address(probe.getsockname()[0].partition("%")[0]))
    return found


def _by_netlink() -> Iterator[InterfaceAddress]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        route.settimeout(1.0)
        route.send(struct.pack("=IHHIIBBBBI", 24, _GET_ADDRESSES, _REQUEST_ALL, 1, 0, 0, 0, 0, 0, 0))
        while True:
            data = route.recv(1 << 16)
            while len(data) >= 16:
                size, kind = struct.unpack_from("=IH", data)
                if kind in (_DONE, _ERROR) or size < 16:
                    return
                if kind == _GET_ADDRESSES - 2 and (one := _address(data[16:size])) is not None:  # RTM_NEWADDR
                    yield one
                data = data[(size + 3) & ~3 :]


def _address(message: bytes) -> InterfaceAddress | None:
    """Return the address that a `struct ifaddrmsg` with its attributes tells of; None if it cannot be used."""
    parts = dict(_attributes(message[8:]))
    wire = parts.get(_LOCAL) or parts.get(_ADDRESS, b"")
    if len(wire) not in (4, 16):
        return None
    flags = struct.unpack("=I", parts[_FLAGS])[0] if len(parts.get(_FLAGS, b"")) == 4 else message[2]
    if flags & (_DAD_FAILED | _TENTATIVE):
        return None
    return InterfaceAddress(ip_address(wire), bool(flags & _TEMPORARY) and len(wire) == 16, bool(flags & _DEPRECATED))


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        if size < 4:
            return
        yield kind, data[4:size]
        data = data[(size + 3) & ~3 :]
