"""The names and private addresses of this machine, for certificates of listeners whose rules name no host."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address

from npserver.tls.local_names import is_local_name

MAX_ADDRESSES = 50  # a host of containers may have thousands

_GET_ADDRESSES, _DONE, _ERROR = 22, 3, 2  # RTM_GETADDR, NLMSG_DONE, NLMSG_ERROR of rtnetlink(7)
_REQUEST_ALL = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_ADDRESS, _LOCAL = 1, 2  # IFA_ADDRESS, IFA_LOCAL
_ROUTED = (("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6))  # for documentation: nothing is sent


def machine_names() -> tuple[str, ...]:
    """Return localhost, the host name where it is a local one and below `.local`, and the private addresses."""
    host = socket.gethostname().lower().rstrip(".")
    label = host.partition(".")[0]
    names = ["localhost"]
    if label and label != "localhost" and label.replace("-", "").isalnum() and label.isascii():
        names.append(f"{label}.local")
        if host != label and is_local_name(host):
            names.append(host)
    found = sorted({one for one in _addresses() if is_local_name(one)}, key=lambda one: (":" in one, one))
    return tuple(dict.fromkeys([*names, "127.0.0.1", "::1", *found[:MAX_ADDRESSES]]))


def _addresses() -> list[str]:
    """Return the addresses of all interfaces but link-local ones; where the system has no netlink, the routed ones."""
    found: list[str] = []
    with contextlib.suppress(OSError, AttributeError, struct.error):
        found = list(_by_netlink())
    if not found:
        for target, family in _ROUTED:
            with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                found.append(probe.getsockname()[0])
    return [one for one in found if not ip_address(one).is_link_local]


def _by_netlink() -> Iterator[str]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        route.settimeout(1.0)
        route.send(struct.pack("=IHHIIBBBBI", 24, _GET_ADDRESSES, _REQUEST_ALL, 1, 0, 0, 0, 0, 0, 0))
        while True:
            data = route.recv(1 << 16)
            while len(data) >= 16:
                size, kind = struct.unpack_from("=IH", data)
                if kind in (_DONE, _ERROR) or size < 16:
                    return
                if kind == _GET_ADDRESSES - 2:  # RTM_NEWADDR
                    parts = dict(_attributes(data[24:size]))
                    wire = parts.get(_LOCAL) or parts.get(_ADDRESS, b"")
                    if len(wire) in (4, 16):
                        yield str(ip_address(wire))
                data = data[(size + 3) & ~3 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        if size < 4:
            return
        yield kind, data[4:size]
        data = data[(size + 3) & ~3 :]
