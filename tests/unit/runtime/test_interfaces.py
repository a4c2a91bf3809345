"""The addresses of this machine's interfaces."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest

from npserver.runtime import interfaces
from npserver.runtime.interfaces import InterfaceAddress, interface_addresses
from npserver.tls.local_names import is_local_name
from npserver.tls.machine import machine_names


@pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="needs netlink, which only Linux has")
def test_the_kernel_tells_the_addresses_of_all_interfaces() -> None:
    found = {str(one.ip) for one in interfaces._by_netlink()}
    assert "127.0.0.1" in found
    if Path("/sbin/ip").exists():
        told = json.loads(
            subprocess.run(["/sbin/ip", "-j", "addr"], capture_output=True, check=True, timeout=10).stdout
        )
        assert found == {one["local"] for link in told for one in link["addr_info"]}


def test_without_netlink_the_routed_addresses_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError

    monkeypatch.setattr(interfaces, "_by_netlink", refuse)
    for name in machine_names():
        assert is_local_name(name)
    assert all(not one.ip.is_link_local for one in interface_addresses())


def message(address: str, flags: int, header_flags: int = 0) -> bytes:
    """Return a `struct ifaddrmsg` with IFA_ADDRESS and IFA_FLAGS, as RTM_NEWADDR has them."""
    wire = ip_address(address).packed
    head = struct.pack("=BBBBI", 10 if len(wire) == 16 else 2, 64, header_flags, 0, 1)
    return head + struct.pack("=HH", len(wire) + 4, 1) + wire + struct.pack("=HHI", 8, 8, flags)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (0x80, (False, False)),  # IFA_F_PERMANENT
        (0x01, (True, False)),
        (0x20, (False, True)),
        (0x21, (True, True)),
        (0x40, None),  # tentative: not verified yet
        (0x08, None),  # another machine has it
    ],
)
def test_flags_tell_what_an_address_is_for(flags: int, expected: tuple[bool, bool] | None) -> None:
    found = interfaces._address(message("2a00:2::9", flags))
    assert found == (None if expected is None else InterfaceAddress(ip_address("2a00:2::9"), *expected))


def test_secondary_of_ipv4_is_not_temporary() -> None:
    """It is the same flag."""
    assert interfaces._address(message("10.0.0.8", 0x01)) == InterfaceAddress(ip_address("10.0.0.8"))


def test_a_kernel_without_the_long_flags_has_the_short_ones() -> None:
    short = message("2a00:2::9", 0, header_flags=0x20)[:-8]
    assert interfaces._address(short) == InterfaceAddress(ip_address("2a00:2::9"), is_deprecated=True)
