"""The names and addresses of this machine."""

from __future__ import annotations

import ipaddress
import json
import socket
import subprocess
from pathlib import Path

import pytest

from npserver.tls import machine
from npserver.tls.local_names import is_local_name
from npserver.tls.machine import machine_names


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("nas", ["localhost", "nas.local"]),
        ("NAS.home", ["localhost", "nas.local", "nas.home"]),
        ("www.example.com", ["localhost", "www.local"]),
        ("localhost", ["localhost"]),
        ("", ["localhost"]),
        ("bad_name", ["localhost"]),
    ],
)
def test_names_by_the_host_name(host: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    monkeypatch.setattr(machine, "_addresses", lambda: ["8.8.8.8", "fd00::2", "10.0.0.9", "127.0.0.1"])
    assert list(machine_names()) == [*expected, "127.0.0.1", "::1", "10.0.0.9", "fd00::2"]


def test_addresses_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_addresses", lambda: [f"10.0.{number}.1" for number in range(200)])
    assert len([name for name in machine_names() if name.startswith("10.")]) == machine.MAX_ADDRESSES


@pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="needs netlink, which only Linux has")
def test_the_kernel_tells_the_addresses_of_all_interfaces() -> None:
    found = set(machine._by_netlink())
    assert "127.0.0.1" in found
    if Path("/sbin/ip").exists():
        told = json.loads(
            subprocess.run(["/sbin/ip", "-j", "addr"], capture_output=True, check=True, timeout=10).stdout
        )
        assert found == {one["local"] for link in told for one in link["addr_info"]}


def test_without_netlink_the_routed_addresses_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError

    monkeypatch.setattr(machine, "_by_netlink", refuse)
    for name in machine_names():
        assert is_local_name(name)
    assert all(not ipaddress.ip_address(one).is_link_local for one in machine._addresses())
