"""What is counted for a client."""

from __future__ import annotations

import pytest

from npserver.limits.client_key import client_key


@pytest.mark.parametrize(
    ("one", "other", "bits", "together"),
    [
        ("192.0.2.1", "192.0.2.1", 64, True),
        ("192.0.2.1", "192.0.2.2", 64, False),
        ("2001:db8::1", "2001:db8::ffff:1", 64, True),
        ("2001:db8::1", "2001:db8:0:1::1", 64, False),
        ("2001:db8::1", "2001:db8:0:1::1", 48, True),
        ("2001:db8::1", "2001:db8::2", 128, False),
        ("::ffff:192.0.2.1", "192.0.2.1", 64, True),
        ("unix:", "unix:", 64, True),
        ("unix:", "::", 64, False),
    ],
)
def test_ipv6_clients_count_by_their_network(one: str, other: str, bits: int, together: bool) -> None:
    """A client has a /64 of addresses at the least: traefik/traefik#9721."""
    assert (client_key(one, bits) == client_key(other, bits)) is together
