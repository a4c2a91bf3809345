"""Health of a target by results in a row, expected statuses, slow start."""

from __future__ import annotations

import pytest

from npserver.upstream.health_state import Health, HealthTrack, parse_statuses, ramp


class TestHealthTrack:
    @pytest.mark.parametrize(
        ("results", "flips"),
        [
            ("+", "+"),
            ("-", "-"),
            ("+--", "+"),
            ("+---", "+-"),
            ("+--+--", "+"),
            ("+---+", "+-"),
            ("+---++", "+-+"),
            ("+---+-++", "+-+"),
            ("-++", "-+"),
        ],
    )
    def test_results_in_a_row_flip_the_state(self, results: str, flips: str) -> None:
        track = HealthTrack(rise=2, fall=3)
        seen = ""
        for result in results:
            if track.record(result == "+"):
                seen += "+" if track.state is Health.UP else "-"
        assert seen == flips

    def test_a_track_goes_on_from_what_was_known(self) -> None:
        track = HealthTrack(rise=2, fall=3, state=Health.DOWN)
        assert not track.record(True)
        assert track.record(True)


@pytest.mark.parametrize(
    ("since", "slow_start", "share"),
    [(0, 0, 1), (0, 10, 0.1), (5, 10, 0.5), (10, 10, 1), (99, 10, 1), (float("inf"), 10, 1)],
)
def test_the_share_grows_over_a_slow_start(since: float, slow_start: float, share: float) -> None:
    assert ramp(since, slow_start) == share


class TestStatuses:
    @pytest.mark.parametrize(
        ("value", "good", "bad"),
        [
            (200, [200], [201, 204]),
            ("200-399", [200, 301, 399], [199, 400]),
            ([204, "300 - 302"], [204, 301], [200, 303]),
        ],
    )
    def test_statuses_are_read(self, value: int | str | list[int | str], good: list[int], bad: list[int]) -> None:
        statuses = parse_statuses(value)
        assert statuses.issuperset(good)
        assert not statuses.intersection(bad)

    @pytest.mark.parametrize("value", ["", "abc", "200-", "-200", 99, "300-200", "200-600", "2xx"])
    def test_wrong_statuses_are_refused(self, value: int | str) -> None:
        with pytest.raises(ValueError, match="status"):
            parse_statuses(value)
