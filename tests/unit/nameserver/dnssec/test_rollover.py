"""The steps of roll-overs and their times (RFC 7583 §3.2.1, §3.3.1)."""

from __future__ import annotations

import pytest

from npserver.nameserver.dnssec.rollover import Timing, awaits_ds, begin, ds_seen, in_progress, next_step, roll_due_at
from npserver.nameserver.dnssec.state import ZoneState, first_state

HOUR, DAY = 3600.0, 86_400.0
TIMING = Timing(propagation_s=HOUR, max_ttl_s=DAY, ds_ttl_s=2 * DAY)


def at(state: ZoneState, now: float, timing: Timing = TIMING) -> tuple[float, str] | None:
    step = next_step(state, timing, now)
    return None if step is None else (step.at - now, step.text)


def taken(state: ZoneState, now: float, timing: Timing = TIMING) -> ZoneState:
    step = next_step(state, timing, now)
    assert step is not None
    assert step.at <= now
    assert step.after.version == state.version + 1
    return step.after


def settled(kind: str) -> ZoneState:
    """A zone whose keys are in use since long."""
    state = first_state(kind, 13, 1.0)
    for number in range(len(state.keys)):
        changes = {"published_at": 1.0}
        if state.keys[number].is_entry_point:
            changes |= {"ds_asked_at": 1.0, "ds_seen_at": 1.0}
        state = state.with_changed(state.keys[number], **changes)
    return state


def test_the_first_key_waits_until_answers_without_signatures_are_forgotten() -> None:
    state = first_state("csk", 13, 0.0)
    assert at(state, 100.0) == (0.0, "a new key is published")
    state = taken(state, 100.0)
    assert at(state, 100.0) == (HOUR + DAY, "the parent is asked for the DS record of the new key")
    assert awaits_ds(state) is None
    state = taken(state, 100.0 + HOUR + DAY)
    assert awaits_ds(state) is state.keys[0]
    assert next_step(state, TIMING, 1e9) is None
    state = ds_seen(state, 1e6)
    assert awaits_ds(state) is None
    assert next_step(state, TIMING, 1e9) is None


@pytest.mark.parametrize(("kind", "role"), [("csk", "csk"), ("ksk-zsk", "ksk")])
def test_an_entry_point_is_replaced_by_double_signature(kind: str, role: str) -> None:
    state = settled(kind)
    state = begin(state, "csk" if role == "csk" else "ksk")
    assert in_progress(state, "csk" if role == "csk" else "ksk")
    now = 10 * DAY
    state = taken(state, now)
    assert not state.entry_points()[-1].signs_from
    assert at(state, now) == (2 * HOUR, "the parent is asked for the DS record of the new key")
    now += 2 * HOUR
    state = taken(state, now)
    assert awaits_ds(state) is state.entry_points()[-1]
    assert (state.entry_points()[-1].signs_from == now) == (role == "csk")
    assert next_step(state, TIMING, 1e9) is None  # the parent may take years
    now += 100 * DAY
    state = ds_seen(state, now)
    assert at(state, now) == (HOUR + 2 * DAY, "the former key goes")
    state = taken(state, now + HOUR + 2 * DAY)
    assert [one.role for one in state.entry_points()] == [role]
    assert state.entry_points()[0].ds_seen_at == now
    assert next_step(state, TIMING, 1e9) is None


def test_the_former_key_stays_as_long_as_its_signatures_may_be_known() -> None:
    timing = Timing(propagation_s=HOUR, max_ttl_s=30 * DAY, ds_ttl_s=HOUR)
    state = taken(begin(settled("csk"), "csk"), 10 * DAY, timing)
    state = taken(state, 10 * DAY + 2 * HOUR, timing)
    state = ds_seen(state, 10 * DAY + 3 * HOUR)
    assert at(state, 10 * DAY + 2 * HOUR, timing) == (HOUR + 30 * DAY, "the former key goes")


def test_a_zsk_is_published_before_it_signs() -> None:
    state = taken(begin(settled("ksk-zsk"), "zsk"), 10 * DAY)
    assert at(state, 10 * DAY) == (2 * HOUR, "the new key signs")
    now = 10 * DAY + 2 * HOUR
    state = taken(state, now)
    assert state.signers()[-1].signs_from == now
    assert at(state, now) == (HOUR + DAY, "the former key goes")
    state = taken(state, now + HOUR + DAY)
    assert [one.role for one in state.keys] == ["ksk", "zsk"]
    assert next_step(state, TIMING, 1e9) is None


def test_a_step_that_comes_late_counts_from_then() -> None:
    """While no process was there to take it, nobody saw the state that it leads to."""
    state = taken(begin(settled("csk"), "csk"), 10 * DAY)
    state = taken(state, 50 * DAY)
    assert state.keys[-1].ds_asked_at == state.keys[-1].signs_from == 50 * DAY


def test_a_zone_above_that_is_ours_is_not_waited_for() -> None:
    timing = Timing(HOUR, DAY, HOUR, has_our_parent=True)
    state = taken(begin(settled("csk"), "csk"), 10 * DAY, timing)
    state = taken(state, 11 * DAY, timing)
    state = taken(state, 11 * DAY, timing)
    assert state.keys[-1].ds_seen_at == 11 * DAY
    assert at(state, 11 * DAY, timing) == (HOUR + DAY, "the former key goes")


def test_the_age_of_a_key() -> None:
    state = settled("ksk-zsk")
    assert roll_due_at(state, "zsk", 30 * DAY) == 30 * DAY + 1.0
