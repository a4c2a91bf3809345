"""The targets on the status page: health and why, the worst first."""

from __future__ import annotations

from npserver.observe.histogram import BOUNDS_S, RESPONSE_TIMES, Histogram
from npserver.upstream.config import HealthCheck, PassiveHealth
from npserver.upstream.health_state import Health
from npserver.upstream.registry import REASONS, tell_reason
from npserver.web.handlers.status.history import History
from npserver.web.handlers.status.table import Markup
from npserver.web.handlers.status.targets import counters_of, target_states, target_table, targets_as_json
from npserver.web.handlers.status.times import HEADS as TIMES
from tests.unit.upstream.test_group import Bed

A, B, C, D = (f"http://10.0.0.{number}:80" for number in range(1, 5))
HOSTILE = "<script>alert(1)</script>"


def test_each_target_has_its_health_and_why_and_the_worst_come_first() -> None:
    bed = Bed()
    upstream = bed.upstream(A, B, C, D, health_check=HealthCheck(), health=PassiveHealth(), retry_timeout_seconds=30)
    up, failing, ejected, down = upstream.targets
    up.set_checked(Health.UP)
    failing.connect_failed("refused")
    ejected.set_ejected(bed.clock.now + 90)
    down.set_checked(Health.UP)
    down.set_checked(Health.DOWN)
    tell_reason(bed.contexts[0], "app", C, "6 of its last 10 requests failed")
    tell_reason(bed.contexts[0], "app", D, f"status 500 {HOSTILE}")
    up.acquire()
    bed.contexts[0].row.publish()
    bed.clock.now += 10
    states = target_states(upstream.named, bed.contexts[0])
    assert [(one.target, one.health, one.why) for one in states] == [
        (D, "down", f"status 500 {HOSTILE}"),
        (C, "ejected", "6 of its last 10 requests failed; for 80 s more (upstreams.app.health)"),
        (B, "failing", "its last connection failed, not used for 20 s by this worker (retry_timeout_seconds)"),
        (A, "up", ""),
    ]
    assert states[0].since_s == 10
    assert (states[3].active, states[3].requests) == (1, 1)
    assert targets_as_json(states)[0] == {
        "upstream": "app", "target": D, "health": "down", "why": f"status 500 {HOSTILE}", "since_seconds": 10,
        "active": 0, "requests": 0, "failures": 0,
    }  # fmt: skip
    shown = target_table(states, History(bed.contexts[0]))
    assert "<script" not in shown
    assert '<b class="bad">down</b> 10 s' in shown
    assert '<b class="good">up</b>' in shown
    assert shown.count('class="n"') == 3  # active and requests of one, failures of another: zeros are left out


def test_a_thousand_targets_are_bounded_and_those_in_trouble_are_shown() -> None:
    bed = Bed()
    upstream = bed.upstream(*[f"http://10.0.{n // 250}.{n % 250}:80" for n in range(1000)], health_check=HealthCheck())
    upstream.targets[777].set_checked(Health.DOWN)
    states = target_states(upstream.named, bed.contexts[0])
    shown = target_table(states, History(bed.contexts[0]))
    assert 40_000 < len(shown) < 55_000
    assert upstream.targets[777].uri in shown
    assert "more are in the JSON" in shown
    less = target_table(states, History(bed.contexts[0]), None, 50_000)
    assert len(less) < 10_000  # other sections are long
    assert upstream.targets[777].uri in less


class User:
    """A handler of a status rule."""


def test_times_are_those_of_the_last_minutes_of_each_target() -> None:
    bed = Bed()
    upstream, context = bed.upstream(A, B), bed.contexts[0]
    times = Histogram(context.row, RESPONSE_TIMES, "app", A)
    counters = counters_of(upstream.named, context.row.board.directory.names)
    assert len(counters) == 2 + len(BOUNDS_S) + 1  # those of B are not measured
    history, user = History(context), User()
    history.start(user, counters)
    history.expire(0.0)
    states = target_states(upstream.named, context)
    assert "half within" not in target_table(states, history)
    for number in range(100):
        times.observe(2.0 if number < 3 else 0.004)
    context.row.publish()
    history.expire(2.0)
    shown = target_table(states, history, lambda one: Markup(f"<button>{one.health}</button>"))
    first, second = shown.split("<tr>")[2:]
    assert [shown.count(f'<th scope="col">{head}</th>') for head in TIMES] == [1, 1, 1]
    assert 'data-h="half within">3.8 ms<' in first
    assert 'data-h="99 % within">2.0 s<' in first
    assert "within" not in second
    assert "<button>not checked</button>" in first


def test_a_reason_of_another_form_is_none() -> None:
    bed = Bed()
    upstream = bed.upstream(A, B, health_check=HealthCheck())
    upstream.targets[0].set_checked(Health.DOWN)
    for value in (7, {"app http://10.0.0.1:80": 7}):
        bed.contexts[0].pubsub.publish(REASONS, value)
        assert target_states(upstream.named, bed.contexts[0])[0].why == "its checks fail"
