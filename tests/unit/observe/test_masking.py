"""What `hide` leaves of addresses and targets."""

from __future__ import annotations

import pytest

from npserver.observe.masking import mask_address, mask_endpoint, without_query


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("203.0.113.9", "203.0.113.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("::ffff:203.0.113.9", "203.0.113.0"),
        ("fe80::1%eth0", "fe80::"),
        ("unix", "unix"),
        ("", ""),
    ],
)
def test_addresses_keep_their_network(address: str, masked: str) -> None:
    assert mask_address(address) == masked


@pytest.mark.parametrize(
    ("endpoint", "masked"),
    [
        ("192.0.2.7:4711", "192.0.2.0:0"),
        ("[2001:db8::7]:4711", "[2001:db8::]:0"),
        ("192.0.2.7", "192.0.2.0"),
        ("2001:db8::7", "2001:db8::"),
        ("unix", "unix"),
        ("/run/app:80", "/run/app:80"),
    ],
)
def test_endpoints_lose_their_port_too(endpoint: str, masked: str) -> None:
    assert mask_endpoint(endpoint) == masked


def test_queries_go() -> None:
    assert [without_query(one) for one in ("/a?b=c?d", "/a", "http://r/x?y#z")] == ["/a", "/a", "http://r/x"]
