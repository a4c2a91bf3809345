"""Local names: those that the local authority certifies by itself."""

from __future__ import annotations

import pytest

from npserver.tls.local_names import is_local_name


@pytest.mark.parametrize(
    "name",
    ["localhost", "a.localhost", "nas.home", "*.home", "nas.local", "db.internal", "x.home.arpa", "pi.lan", "a.test",
     "127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "100.64.0.1", "169.254.1.1", "::1", "fd00::2", "fe80::1"],
)  # fmt: skip
def test_a_local_name(name: str) -> None:
    assert is_local_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "example.com",
        "nas",
        "myhome",
        "local.example",
        "home.com",
        "",
        "8.8.8.8",
        "172.32.0.1",
        "100.128.0.1",
        "2001:db8::1",
    ],
)
def test_a_name_of_the_public(name: str) -> None:
    assert not is_local_name(name)
