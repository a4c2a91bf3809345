"""Who gets answers, and from which view. Covers `nameserver.access_policy`."""

from __future__ import annotations

import pytest

from npserver.nameserver.access_policy import MAX_CHOSEN
from npserver.networks import ChangingNetworks, NetworkSet
from tests.stage.nameserver import limiter_of, tables_of
from tests.stage.udp_front import Stage, networks


class TestViews:
    """`dns_views`: the first match counts, the global records are for all others."""

    INSIDE = (networks("10.0.0.0/8", "fd00::/8"), tables_of({"mx1.example.com": {"A": "10.0.0.1"}}))
    DEEPER = (networks("10.1.0.0/16"), tables_of({"mx1.example.com": {"A": "10.1.0.1"}}))

    @pytest.mark.parametrize(
        ("client", "expected"),
        [("10.0.0.9", "10.0.0.1"), ("10.1.0.9", "10.0.0.1"), ("fd00::7", "10.0.0.1"), ("192.0.2.1", "192.0.2.4")],
    )
    def test_the_first_view_that_matches_answers(self, client: str, expected: str) -> None:
        stage = Stage(self.INSIDE, self.DEEPER)
        for _ in range(20):
            assert stage.answer("mx1.example.com", client) == expected

    def test_most_specific_first_if_written_so(self) -> None:
        stage = Stage(self.DEEPER, self.INSIDE)
        assert [stage.answer("mx1.example.com", client) for client in ("10.1.0.9", "10.0.0.9")] == [
            "10.1.0.1",
            "10.0.0.1",
        ]

    def test_a_view_replaces_the_global_records(self) -> None:
        stage = Stage(self.INSIDE)
        assert stage.answer("www.other.test", "10.0.0.9") == "REFUSED"
        assert stage.answer("www.other.test", "192.0.2.1") == "198.51.100.2"


class TestAccess:
    def test_only_allowed_clients_are_answered(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("DEBUG", "npserver.dns")
        stage = Stage(allow=networks("10.0.0.0/8"), key="dispatch[2]")
        assert [stage.answer("mx1.example.com", one) for one in ("10.0.0.1", "192.0.2.1")] == ["192.0.2.4", "REFUSED"]
        assert caplog.messages == ["query of client 192.0.2.1 refused (dispatch[2].allow)"]

    def test_denied_clients_are_refused(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("DEBUG", "npserver.dns")
        stage = Stage(deny=networks("10.0.0.0/8"), key="dispatch[2]")
        assert [stage.answer("mx1.example.com", one) for one in ("10.0.0.1", "192.0.2.1")] == ["REFUSED", "192.0.2.4"]
        assert caplog.messages == ["query of client 10.0.0.1 refused (dispatch[2].deny)"]

    def test_the_refused_are_not_relayed(self) -> None:
        stage = Stage(deny=networks("10.0.0.0/8"), recursion_clients=networks("10.0.0.0/8"))
        assert stage.answer("google.com", "10.0.0.1") == "REFUSED"

    def test_a_client_above_its_rate_is_limited(self) -> None:
        stage = Stage(limiter=limiter_of(2, 0))
        assert [stage.answer("mx1.example.com", "192.0.2.1") for _ in range(4)] == ["192.0.2.4"] * 2 + ["dropped"] * 2
        stage.loop.now += 1
        assert stage.answer("mx1.example.com", "192.0.2.1") == "192.0.2.4"


def test_networks_may_change() -> None:
    """They decide at each query."""
    banned = NetworkSet("banned")
    stage = Stage(recursion_clients=networks("10.0.0.0/8"), deny=ChangingNetworks([], [banned]))
    assert stage.answer("google.com", "10.0.0.1") == "NOERROR"
    banned.current = networks("10.0.0.1")
    assert stage.answer("google.com", "10.0.0.1") == "REFUSED"
    assert stage.answer("google.com", "10.0.0.2") == "NOERROR"


def test_clients_take_bounded_memory() -> None:
    stage = Stage(recursion_clients=networks("10.0.0.0/8"))
    for number in range(MAX_CHOSEN + 10):
        assert stage.answer("google.com", f"10.0.{number >> 8}.{number & 255}") == "NOERROR"
    chosen = stage.front.policy._chosen
    assert chosen is not None
    assert len(chosen) == 10
