"""Access by network: the keys `allow` and `deny`."""

from __future__ import annotations

import pytest

from npserver.networks import Networks, parse_network
from npserver.web.middleware.networks.gate import NetworkGate
from tests.stage.exchanges import exchange


def networks(*texts: str) -> Networks | None:
    return Networks([parse_network(text) for text in texts]) if texts else None


HOME, OFFICE, OTHER = "192.168.1.7", "10.0.0.1", "203.0.113.9"


@pytest.mark.parametrize(
    ("allow", "deny", "passing"),
    [
        (["192.168.0.0/16"], [], {HOME}),
        ([], ["192.168.0.0/16"], {OFFICE, OTHER}),
        (["192.168.0.0/16", "10.0.0.0/8"], ["10.0.0.1"], {HOME}),
        (["0.0.0.0/0"], [], {HOME, OFFICE, OTHER}),
    ],
)
def test_only_allowed_clients_that_are_not_denied_pass(allow: list[str], deny: list[str], passing: set[str]) -> None:
    gate = NetworkGate(networks(*allow), networks(*deny), "dispatch[0]")
    request = exchange().request
    assert {client for client in (HOME, OFFICE, OTHER) if gate.gate(client, request) is None} == passing


def test_a_refusal_names_the_key_that_decided() -> None:
    gate = NetworkGate(networks("192.168.0.0/16"), networks("192.168.1.7"), "dispatch[2]")
    request = exchange().request
    denied, not_allowed = gate.gate(HOME, request), gate.gate(OTHER, request)
    assert denied is not None
    assert not_allowed is not None
    assert (denied.status, denied.key) == (403, "dispatch[2].deny")
    assert (not_allowed.status, not_allowed.key) == (403, "dispatch[2].allow")
