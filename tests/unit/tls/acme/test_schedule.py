"""When certificates are renewed and failures are followed by another attempt."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from npserver.tls.acme.schedule import (
    DAY_S,
    Failures,
    OrderBudget,
    Window,
    ask_again_s,
    certificate_id,
    chance_of,
    is_to_ask,
    renew_at,
    wait_s,
)

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()
NINETY = NOW, NOW + 90 * DAY_S


def test_the_id_of_a_certificate_is_that_of_the_rfc() -> None:
    """RFC 9773 §4.1: the serial number has the leading zero of its DER."""
    key_id = bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")
    assert certificate_id(key_id, 0x87654321) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


@pytest.mark.parametrize(("serial", "encoded"), [(0x7F, "fw"), (0x80, "AIA"), (0x100, "AQA"), (0, "AA")])
def test_serial_numbers_are_encoded_as_in_der(serial: int, encoded: str) -> None:
    assert certificate_id(b"", serial) == f".{encoded}"


@pytest.mark.parametrize("days", [6, 45, 90, 398])
def test_without_a_window_it_is_renewed_at_two_thirds_of_its_life(days: int) -> None:
    assert renew_at(NOW, NOW + days * DAY_S, None, 0.5) == pytest.approx(NOW + days * DAY_S * 2 / 3)


def test_the_time_is_chosen_within_the_window_of_the_ca() -> None:
    window = Window(NOW + 10 * DAY_S, NOW + 12 * DAY_S)
    assert [renew_at(*NINETY, window, chance) for chance in (0, 0.5)] == [NOW + 10 * DAY_S, NOW + 11 * DAY_S]


def test_a_window_that_has_passed_means_now() -> None:
    window = Window(NOW - 3 * DAY_S, NOW - 2 * DAY_S)  # the CA revokes, and wants all to renew
    assert renew_at(*NINETY, window, 0.99) < NOW


@pytest.mark.parametrize("end", [NOW + DAY_S, NOW])
def test_a_window_that_does_not_end_after_its_start_is_ignored(end: float) -> None:
    assert renew_at(*NINETY, Window(NOW + DAY_S, end), 0.5) == renew_at(*NINETY, None, 0.5)


def test_no_window_postpones_a_renewal_past_nine_tenths_of_the_life() -> None:
    window = Window(NOW + 400 * DAY_S, NOW + 500 * DAY_S)
    assert renew_at(*NINETY, window, 0.5) == pytest.approx(NOW + 81 * DAY_S)


def test_a_name_has_the_same_chance_everywhere() -> None:
    assert chance_of("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE") == chance_of("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE")
    chances = [chance_of(str(number)) for number in range(1000)]
    assert all(0 <= chance < 1 for chance in chances)
    assert [sum(low <= chance * 10 < low + 1 for chance in chances) > 60 for low in range(10)] == [True] * 10


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [(None, 21_600), (0, 60), (3600, 3600), (10**9, DAY_S)],
    ids=["none", "at once", "an hour", "thirty years"],
)
def test_the_ca_is_asked_again_within_the_limits_of_the_rfc(retry_after: float | None, seconds: float) -> None:
    assert ask_again_s(retry_after) == seconds


def test_five_failures_take_more_than_an_hour() -> None:
    """Let's Encrypt refuses the sixth failed validation of a name within an hour."""
    now, failures = NOW, Failures()
    times = []
    for _ in range(5):
        times.append(now)
        failures = failures.after(now, 0.0)
        now = failures.next_try(now)
    assert times[3] - times[0] < 3600 < times[4] - times[0]


def test_the_delay_grows_to_a_day_and_no_further() -> None:
    failures = Failures()
    delays = []
    for _ in range(40):
        failures = failures.after(NOW, 0.0)
        delays.append(failures.delay_s)
    assert delays[:4] == [300, 600, 1200, 2400]
    assert delays == sorted(delays)
    assert delays[-1] == DAY_S


@pytest.mark.parametrize(
    ("retry_after", "delay"),
    [(None, 300), (10, 300), (7200, 7200), (10**9, DAY_S)],
    ids=["none", "less", "more", "lie"],
)
def test_the_retry_after_of_the_ca_is_kept_for_up_to_a_day(retry_after: float | None, delay: float) -> None:
    assert Failures().after(NOW, 0.0, retry_after).delay_s == delay


def test_jitter_only_adds() -> None:
    assert Failures().after(NOW, 0.999).delay_s == pytest.approx(375, abs=1)


def test_a_clock_that_is_put_back_does_not_postpone_the_next_attempt() -> None:
    """Not at any time: one that was as far away at each look would never be made before the clock is there again."""
    failures = Failures().after(NOW, 0.0)
    year_before = NOW - 365 * DAY_S
    assert failures.next_try(year_before) == year_before
    assert Failures().after(year_before, 0.0).next_try(year_before + 1) == year_before + 300
    assert failures.next_try(NOW - 2) == NOW + 300, "a correction of the time is no jump"


def test_a_clock_that_is_put_back_does_not_keep_the_ca_from_being_asked() -> None:
    assert not is_to_ask(NOW + 60, NOW)
    assert not is_to_ask(NOW + DAY_S, NOW)
    assert is_to_ask(NOW - 60, NOW)
    assert is_to_ask(NOW + 365 * DAY_S, NOW)


def test_nobody_sleeps_past_a_jump_of_the_clock_for_more_than_an_hour() -> None:
    assert wait_s(NOW + 30 * DAY_S, NOW) == 3600
    assert wait_s(NOW + 5, NOW) == 5
    assert wait_s(NOW - 5, NOW) == 0


def test_an_account_makes_no_more_orders_than_its_budget() -> None:
    budget = OrderBudget(3, 100)
    for second in (0, 10, 20):
        assert budget.wait_s(NOW + second) == 0
        budget.spend(NOW + second)
    assert repr(budget) == "<OrderBudget 3 of 3>"
    assert budget.wait_s(NOW + 30) == 70
    assert budget.wait_s(NOW + 100) == 0


def test_orders_before_the_clock_was_put_back_count_as_of_now() -> None:
    budget = OrderBudget(1, 100)
    budget.spend(NOW)
    assert budget.wait_s(NOW - 1_000_000) == 100
    assert budget.wait_s(NOW - 1_000_000 + 100) == 0
