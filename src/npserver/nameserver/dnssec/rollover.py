"""The steps of a roll-over, and when each is due (RFC 6781 §4.1, RFC 7583). Pure: the time is an argument.

A key that signs the zone's records alone (`zsk`) is published first, signs when all caches have it, and its predecessor
goes when no cache has a signature of that (pre-publication, RFC 7583 §3.2.1). An entry point (`csk`, `ksk`) signs the
keys together with its predecessor from the beginning (double signature, §3.3.1). When all caches have it, the parent is
asked for its DS record, and a `csk` begins to sign the zone. When the parent has that, and no cache has another one,
the predecessor goes. Until then either DS record leads to a valid answer, however long the parent takes.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from npserver.dns.zone.signing import KEY_TTL_S
from npserver.nameserver.dnssec.state import Role, StoredKey, ZoneState, new_key

MIN_PROPAGATION_S = 3600.0  # until all secondaries have a change


class Timing(Struct, frozen=True):
    """How long what a zone had may still be known elsewhere, in seconds."""

    propagation_s: float  # until all name servers of the zone have a change
    max_ttl_s: float  # the largest TTL of the zone
    ds_ttl_s: float  # of the parent's DS record
    has_our_parent: bool = False  # the zone above is served here, and follows at once


class Step(Struct, frozen=True):
    """A change of a zone's keys."""

    at: float  # when it is due
    text: str  # what it does
    after: ZoneState


def next_step(state: ZoneState, timing: Timing, now: float) -> Step | None:
    """Return the next step of what is in progress; None if nothing is, or if only the parent's DS is waited for.

    A step that comes late, as no process was there to take it, counts from `now`.
    """
    for one in state.keys:
        if not one.published_at:
            return Step(now, "a new key is published", state.with_changed(one, published_at=now))
    steps = [*_entry_point_steps(state, timing, now), *_signer_steps(state, timing, now)]
    return min(steps, key=lambda one: one.at, default=None)


def awaits_ds(state: ZoneState) -> StoredKey | None:
    """Return the key that the parent was asked to have a DS record of, and that it is not known to have."""
    asked = [one for one in state.entry_points() if one.ds_asked_at][-1:]
    return asked[0] if asked and not asked[0].ds_seen_at else None


def in_progress(state: ZoneState, role: Role) -> bool:
    """Whether a key of this role is being replaced."""
    return sum([one.role == role for one in state.keys]) > 1


def begin(state: ZoneState, role: Role) -> ZoneState:
    """Return the state with a successor of the key of this role, which is in use and is not being replaced."""
    algorithm = next(one.algorithm for one in state.keys if one.role == role)
    return state.with_keys(*state.keys, new_key(role, algorithm))


def ds_seen(state: ZoneState, now: float, ttl: float = 0.0) -> ZoneState:
    """Return the state after the parent was seen to have the DS record of `awaits_ds`. `ttl`: of it, if it is known."""
    awaited = awaits_ds(state)
    return state if awaited is None else state.with_changed(awaited, ds_seen_at=now, ds_ttl=ttl)


def ds_missed(state: ZoneState) -> ZoneState:
    """Return the state after the parent was found to lack the DS record of the newest key: it is waited for again."""
    return state.with_changed(state.entry_points()[-1], ds_seen_at=0.0)


def ends_entry_point(state: ZoneState, step: Step) -> bool:
    """Whether with a step an entry point goes that the parent may still have the DS record of."""
    return len(step.after.entry_points()) < len(state.entry_points())


def roll_due_at(state: ZoneState, role: Role, age_s: float) -> float:
    """Return when the key of this role has reached the age at which it is replaced by itself."""
    return next(one.published_at for one in reversed(state.keys) if one.role == role) + age_s


def roles(state: ZoneState) -> list[Role]:
    """Return the roles of the zone's keys."""
    return list(dict.fromkeys([one.role for one in state.keys]))


def _entry_point_steps(state: ZoneState, timing: Timing, now: float) -> Iterator[Step]:
    points = state.entry_points()
    new, is_first = points[-1], len(points) == 1
    if not new.ds_asked_at:
        # without a predecessor caches may have answers without signatures, of the time before
        at = new.published_at + timing.propagation_s + max(KEY_TTL_S, timing.max_ttl_s if is_first else 0.0)
        when = max(at, now)
        changes = {"ds_asked_at": when}
        if new.role == "csk" and not new.signs_from:
            changes["signs_from"] = when
        yield Step(at, "the parent is asked for the DS record of the new key", state.with_changed(new, **changes))
        return
    if not new.ds_seen_at:
        if timing.has_our_parent:
            yield Step(now, "the zone above has the DS record", ds_seen(state, now))
        return
    if not is_first:
        at = new.ds_seen_at + timing.propagation_s + max(timing.ds_ttl_s, new.ds_ttl)
        if new.role == "csk":
            at = max(at, new.signs_from + timing.propagation_s + timing.max_ttl_s)
        kept = [one for one in state.keys if not one.is_entry_point or one is new]
        yield Step(at, "the former key goes", state.with_keys(*kept))


def _signer_steps(state: ZoneState, timing: Timing, now: float) -> Iterator[Step]:
    keys = [one for one in state.keys if one.role == "zsk"]
    if len(keys) < 2:
        return
    new = keys[-1]
    if not new.signs_from:
        at = new.published_at + timing.propagation_s + KEY_TTL_S
        yield Step(at, "the new key signs", state.with_changed(new, signs_from=max(at, now)))
        return
    at = new.signs_from + timing.propagation_s + max(KEY_TTL_S, timing.max_ttl_s)
    kept = [one for one in state.keys if one.role != "zsk" or one is new]
    yield Step(at, "the former key goes", state.with_keys(*kept))
