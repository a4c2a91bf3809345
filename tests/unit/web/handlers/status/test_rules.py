"""The rules on the status page: rates and times of the last minutes."""

from __future__ import annotations

from npserver.observe.histogram import BOUNDS_S
from npserver.web.handlers.status.history import History
from npserver.web.handlers.status.rules import MAX_SERIES, counters_of, rule_table
from npserver.web.request_times import Series
from tests.stage.worker import make_context


class User:
    """A handler of a status rule."""


def test_rules_have_the_rates_and_times_of_the_last_minutes() -> None:
    context = make_context()
    history, user = History(context), User()
    busy, idle = Series(context.row, "<b>api</b>", "a.test"), Series(context.row, "idle", "")
    unnamed = Series(context.row, "dispatch[2]", "b.test")
    idle.count("", 200, 0.1)
    context.row.publish()
    series = [("<b>api</b>", "a.test"), ("idle", ""), ("dispatch[2]", "b.test")]
    history.start(user, counters_of(series))
    history.expire(0.0)
    assert rule_table(series, history, {}) == ""
    for number in range(20):
        busy.count("", 502 if number < 4 else 200, 0.2)
    unnamed.count("", 200, 0.2)
    context.row.publish()
    history.expire(2.0)
    shown = rule_table(series, history, {"idle": "/idle", "dispatch[2]": "/api/**"})
    assert "&lt;b&gt;api&lt;/b&gt; a.test" in shown
    assert "dispatch[2] /api/** b.test" in shown
    assert "idle" not in shown
    assert ">10<svg" in shown
    assert '<span class="bad">2</span>' in shown
    assert ">175 ms<" in shown


def test_the_number_of_rules_is_bounded() -> None:
    series = [(f"rule {number}", "") for number in range(1000)]
    assert len(counters_of(series)) == MAX_SERIES * (len(BOUNDS_S) + 2)
