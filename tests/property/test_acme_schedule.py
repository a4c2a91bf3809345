"""Renewals for clocks that jump, lives from six days to 398, and windows anywhere: `tls.acme.schedule`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from npserver.http.dates import retry_after_s
from npserver.tls.acme.schedule import (
    DAY_S,
    ORDERS,
    ORDERS_PERIOD_S,
    Failures,
    OrderBudget,
    Window,
    ask_again_s,
    renew_at,
    wait_s,
)

times = st.floats(0, 4e9)
lives = st.floats(6 * DAY_S, 398 * DAY_S)
chances = st.floats(0, 1, exclude_max=True)
windows = st.none() | st.builds(Window, times, times)
waits = st.none() | st.floats(0, 1e12)


@given(times, lives, windows, chances)
def test_a_renewal_leaves_time_for_failures(
    not_before: float, life: float, window: Window | None, chance: float
) -> None:
    """However the window lies, a tenth of the life is left."""
    at = renew_at(not_before, not_before + life, window, chance)
    assert at <= not_before + life * 0.9 + 1e-3
    if window is None or window.end <= window.start:
        assert at >= not_before + life * 0.66
    else:
        assert min(window.start, not_before + life * 0.9) - 1e-3 <= at <= window.end


@given(times, st.lists(st.tuples(st.floats(-DAY_S, DAY_S), chances, waits), min_size=1, max_size=60))
def test_the_next_attempt_is_never_earlier_than_the_last_failures_delay_nor_much_later_than_a_day(
    now: float, attempts: list[tuple[float, float, float | None]]
) -> None:
    """The clock jumps by up to a day, either way, before each attempt."""
    failures = Failures()
    for jump, chance, retry_after in attempts:
        failures = failures.after(now, chance, retry_after)
        assert now + 300 <= failures.next_try(now) <= now + DAY_S * 1.25
        if retry_after is not None:
            assert failures.next_try(now) >= now + min(retry_after, DAY_S)
        now += jump
        assert failures.next_try(now) <= now + DAY_S * 1.25


@given(st.lists(st.tuples(chances), min_size=8, max_size=40), times)
def test_at_most_four_attempts_fail_in_any_hour(rolls: list[tuple[float]], now: float) -> None:
    failures, times_of_failure = Failures(), []
    for (chance,) in rolls:
        times_of_failure.append(now)
        failures = failures.after(now, chance)
        now = failures.next_try(now)
    assert all(later - earlier > 3600 for earlier, later in zip(times_of_failure, times_of_failure[4:], strict=False))


@given(st.lists(st.floats(-DAY_S, 600), min_size=1, max_size=400), st.integers(1, 20))
def test_a_budget_is_never_exceeded_and_always_comes_back(jumps: list[float], limit: int) -> None:
    """By the time that has really passed: what the clock shows jumps back, too."""
    budget, shown, real = OrderBudget(limit, 3600), 1e9, 0.0
    spent: list[float] = []
    for jump in jumps:
        shown += jump
        real += max(0.0, jump)
        if budget.wait_s(shown) == 0:
            budget.spend(shown)
            spent.append(real)
        assert 0 <= budget.wait_s(shown) <= 3600 + 1e-3
    in_a_period = (sum(1 for time in spent if start <= time < start + 3600 - 1e-3) for start in spent)
    assert all(count <= limit for count in in_a_period)


def test_the_budget_is_below_the_limit_of_lets_encrypt() -> None:
    assert ORDERS < 300
    assert ORDERS_PERIOD_S == 3 * 3600


@given(times, times)
def test_a_sleep_is_never_negative_nor_longer_than_an_hour(at: float, now: float) -> None:
    assert 0 <= wait_s(at, now) <= 3600


@given(st.none() | st.floats(-1e12, 1e12))
def test_the_ca_is_asked_between_once_a_minute_and_once_a_day(retry_after: float | None) -> None:
    assert 60 <= ask_again_s(retry_after) <= DAY_S


@given(st.text(max_size=60), times)
def test_whatever_retry_after_has_it_is_a_time_or_nothing(value: str, now: float) -> None:
    seconds = retry_after_s(value, now)
    assert seconds is None or seconds >= 0
