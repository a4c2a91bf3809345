"""The targets of upstreams on the status page: what each one's health is, and why. Those in trouble come first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.observe.histogram import RESPONSE_TIMES, slot_name
from npserver.upstream.registry import REASONS, drained_targets
from npserver.web.handlers.status.table import Figure, Markup, amount, badge, chart, span, table
from npserver.web.handlers.status.times import HEADS as TIMES
from npserver.web.handlers.status.times import bucket_names, time_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from npserver.runtime.context import Context
    from npserver.upstream.registry import NamedTarget
    from npserver.web.handlers.status.history import History

HEADS = ("target", "health", "why", "per second", "active", "requests", "failures")
PAGE_BYTES = 53_000  # of all sections; other tables have their own limits, and leave at least `_LEAST_BYTES`
_MAX_ROWS, _MAX_CHARTS = 450, 100  # more have no room
_LEAST_BYTES = 8_000
MAX_TIMED = 30  # targets with times
_ORDER = {"down": 0, "ejected": 1, "failing": 2, "draining": 3, "up": 4, "not checked": 5}
_KINDS = {"up": "good", "draining": "soft", "not checked": "soft"}


class TargetState(Struct, frozen=True):
    """What is known of a target."""

    upstream: str
    target: str
    health: str  # a key of `_ORDER`
    why: str
    since_s: float  # for how long; 0: not known
    active: int
    requests: int
    failures: int


def target_states(targets: Iterable[NamedTarget], context: Context) -> list[TargetState]:
    """Return the states of targets, the worst first."""
    states = [_state(one, context) for one in targets]
    return sorted(states, key=lambda one: (_ORDER[one.health], one.upstream, one.target))


def _state(one: NamedTarget, context: Context) -> TargetState:
    board, name, now = context.row.board, f"{one.upstream}.{one.uri}", context.loop.time()
    names = board.directory.names

    def total(counter: str) -> int:
        return board.total(names[counter]) if counter in names else 0

    health, why = "not checked", ""
    if (ejected_ms := total(f"health.{name}.ejected")) > 0:
        health = "ejected"
        why = f"{_reason(one, context)}; for {span(ejected_ms / 1000 - now)} more (upstreams.{one.upstream}.health)"
    elif (checked := total(f"health.{name}")) < 0:
        health, why = "down", _reason(one, context)
    elif (down_s := _down_s(one, context)) > 0:
        health = "failing"
        why = f"its last connection failed, not used for {span(down_s)} by this worker (retry_timeout_seconds)"
    elif checked > 0:
        health = "up"
    drain = drained_targets(context.pubsub.latest).get(one.key)
    if drain is not None:
        health, why = "draining", "gets no new requests (npserver drain)"
    changed_ms = total(f"health.{name}.since")
    changed_at = changed_ms / 1000 if health in ("down", "up", "ejected") else 0.0
    if drain is not None:
        changed_at = drain["since"]
    since_s = max(0.0, now - changed_at) if changed_at else 0.0
    return TargetState(
        one.upstream, one.uri, health, why, since_s, max(0, total(f"gauge.upstream.{name}.active")),
        total(f"upstream.{name}.requests"), total(f"upstream.{name}.failures"),
    )  # fmt: skip


def _reason(one: NamedTarget, context: Context) -> str:
    """Return why it is down, as the controller has told it."""
    known = context.pubsub.latest.get(REASONS)
    reason = known.get(one.key) if isinstance(known, dict) else None
    return reason if isinstance(reason, str) else "its checks fail"


def _down_s(one: NamedTarget, context: Context) -> float:
    """Return for how long this worker does not use the target after a failed connection."""
    from npserver.upstream.target import STATES  # only where there are targets

    state = STATES.of(context).get(f"{one.upstream}\0{one.uri}")
    return state.down_until - context.loop.time() if state is not None else 0.0


def targets_as_json(states: list[TargetState]) -> list[dict[str, object]]:
    """Return what JSON tells of each target."""
    return [
        {
            "upstream": one.upstream,
            "target": one.target,
            "health": one.health,
            "why": one.why or None,
            "since_seconds": round(one.since_s) or None,
            "active": one.active,
            "requests": one.requests,
            "failures": one.failures,
        }
        for one in states
    ]


def target_table(
    states: list[TargetState],
    history: History,
    button: Callable[[TargetState], Markup] | None = None,
    others_bytes: int = 0,
) -> str:
    """Return the table in HTML; "" without targets.

    `button`: makes that of a target; None: there are none; `others_bytes`: the length of all other sections.
    """
    count, states = len(states), states[:_MAX_ROWS]
    heads, rows = list(HEADS), list(map(_row, states, [history] * _MAX_CHARTS + [None] * _MAX_ROWS))
    times = [time_cells(history, RESPONSE_TIMES, one.upstream, one.target) for one in states]
    if any(any(cells) for cells in times):
        heads[4:4] = TIMES
        for row, cells in zip(rows, times, strict=True):
            row[4:4] = cells
    if button is not None:
        heads.append("")
        for row, one in zip(rows, states, strict=True):
            row.append(button(one))
    return table(heads, rows, max(_LEAST_BYTES, PAGE_BYTES - others_bytes), count - len(rows))


def counters_of(targets: Sequence[NamedTarget], names: Collection[str]) -> list[str]:
    """Return the names of the slots that `target_table` needs, the more important first; `names`: of all slots."""
    counters = [f"upstream.{one.upstream}.{one.uri}.requests" for one in targets]
    timed = [one for one in targets if slot_name(RESPONSE_TIMES, one.upstream, one.uri, "0") in names]
    return counters + [
        name for one in timed[:MAX_TIMED] for name in bucket_names(RESPONSE_TIMES, one.upstream, one.uri)
    ]


def _row(one: TargetState, history: History | None) -> list[str | int]:
    name = one.target if one.upstream == one.target else f"{one.upstream} {one.target}"
    since = f" {span(one.since_s)}" if one.since_s else ""
    health = badge(_KINDS.get(one.health, "bad"), one.health)
    rates = history.rates(f"upstream.{one.upstream}.{one.target}.requests", 30) if history is not None else []
    drawn = chart(rates, "requests per second")
    rate = Figure(f"{amount(rates[-1])}{drawn}" if drawn else "")
    zero = Markup("")
    return [
        name, Markup(f"{health}{since}"), one.why, rate, one.active or zero,
        one.requests or zero, one.failures or zero,
    ]  # fmt: skip
