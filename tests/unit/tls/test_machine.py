"""The names and addresses of this machine."""

from __future__ import annotations

import socket

import pytest

from npserver.tls import machine
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
