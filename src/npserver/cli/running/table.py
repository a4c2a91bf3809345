"""The table of `npserver status`, and what of the state needs attention. Zeros and empty parts are left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from npserver.observe.escape import escape_control

MAX_ROWS = 200  # of one part: a config may have thousands of targets
#: Counters and gauges that are shown, with their names.
_SHOWN = {
    "npserver_http_connections": "HTTP connections",
    "npserver_quic_connections": "HTTP/3 connections",
    "npserver_forward_sessions": "forwarded now",
    "npserver_dns_connections": "DNS connections",
    "npserver_http_requests_total": "HTTP requests",
    "npserver_forward_sessions_opened_total": "forwarded",
    "npserver_forward_failed_total": "forwards failed",
    "npserver_forward_refused_total": "forwards refused",
}


def attention(state: dict[str, Any], now: datetime | None = None) -> list[str]:
    """Return what needs attention, a line each."""
    now = now or datetime.now(UTC)
    found = [f"{one['role']} is not ready" for one in state["processes"] if not one["pid"] or not one["is_ready"]]
    for one in state["targets"]:
        if one["health"] == "down":
            how = "ejected" if one["is_ejected"] else "down"
            why = f": {one['why']}" if one["why"] else ""
            found.append(f"target {one['uri']} of upstream {one['upstream']} is {how}{why}")
    for one in state["certificates"]:
        days, name = _days_left(one, now), ", ".join(one["names"]) or one["file"] or "?"
        if days is not None and days < 0:
            found.append(f"the certificate of {name} has expired")
        elif one["error"]:
            found.append(f"the certificate of {name}: {one['error']}")
    last = state["last_reload"]
    if last is not None and last["errors"]:
        found.append(f"the last reload, at {last['time']}, failed: {last['errors'][0]}")
    return [_line(one) for one in found]


def table(state: dict[str, Any], now: datetime | None = None) -> list[str]:
    """Return the lines of the table. `state`: with `attention` and what `add_system` adds."""
    now = now or datetime.now(UTC)
    stopping = ", stopping" if state["is_stopping"] else ""
    head = f"npserver {state['version']}, pid {state['pid']}, up for {span(state['uptime_seconds'])}{stopping}"
    lines = [head, *([f"config {_line(state['config'])}"] if state["config"] else [])]
    lines += [f"attention: {one}" for one in state["attention"]]
    lines += _part(("process", "pid", "age", "restarts", "CPU", "memory"), map(_process, state["processes"]))
    lines += _part(("listener", "state", "connections"), map(_listener, state["listeners"]))
    lines += _part(
        ("upstream", "target", "health", "active", "requests", "failures", "why"), map(_target, state["targets"])
    )
    lines += _part(
        ("certificate", "from", "days left", "error"), (_certificate(one, now) for one in state["certificates"])
    )
    lines += _part(("banned by", "clients"), ((name, _number(count)) for name, count in state["bans"].items() if count))
    dropped = state["metrics"].get("npserver_log_dropped_lines_total") or ()
    lines += _part(("log", "to", "lines dropped"), ((one["log"], one["to"], _number(one["value"])) for one in dropped))
    shown = [(label, _number(state["metrics"].get(name, 0))) for name, label in _SHOWN.items()]
    lines += _part(("counter", "value"), [row for row in shown if row[1]])
    last = state["last_reload"]
    if last is not None:
        outcome = "failed" if last["errors"] and not last["is_in_use"] else "incomplete" if last["errors"] else "done"
        lines += ["", f"last reload {last['time']}: {outcome}"]
        lines += [f"  {_line(one)}" for one in [*last["errors"], *last["warnings"]][:MAX_ROWS]]
    return lines


def span(seconds: float) -> str:
    """Return a time as people say it: 3 d 4:05:06."""
    days, rest = divmod(int(seconds), 86_400)
    return f"{days} d " * bool(days) + f"{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"


def _part(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a part of the table; columns that are empty in all rows are left out, and so is a part without rows."""
    cells = [[_line(cell) for cell in row] for row in rows]
    if not cells:
        return []
    left_out = len(cells) - MAX_ROWS
    kept = [number for number in range(len(heads)) if any(row[number] for row in cells)]
    chosen = [[heads[number] for number in kept], *[[row[number] for number in kept] for row in cells[:MAX_ROWS]]]
    widths = [max(len(row[number]) for row in chosen) for number in range(len(kept))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in chosen]
    return ["", *lines, *([f"... and {left_out} more"] if left_out > 0 else [])]


def _process(one: dict[str, Any]) -> tuple[str, ...]:
    cpu, memory = one.get("cpu_seconds"), one.get("memory_bytes")
    share = f"{100 * cpu / max(one['age_seconds'], 0.1):.1f} %" if cpu is not None else ""
    size = f"{memory / 2**20:.0f} MB" if memory is not None else ""
    pid = str(one["pid"]) if one["pid"] else "restarting"
    return one["role"], pid, span(one["age_seconds"]), _number(one["restarts"]), share, size


def _listener(one: dict[str, Any]) -> tuple[str, ...]:
    return one["uri"], "drained" if one.get("is_drained") else "", _number(one.get("connections", 0))


def _target(one: dict[str, Any]) -> tuple[str, ...]:
    health = "ejected" if one["is_ejected"] else "" if one["health"] == "unknown" else one["health"]
    if health and one["health_age_seconds"] is not None:
        health += f" for {span(one['health_age_seconds'])}"
    name = "" if one["upstream"] == one["uri"] else one["upstream"]
    told = (("draining", one["is_draining"]), ("backup", one["is_backup"]), ("weight 0", not one["weight"]))
    notes = [note for note, is_so in told if is_so]
    counts = (_number(one["active"]), _number(one["requests"]), _number(one["failures"]))
    return name, one["uri"], ", ".join([*([health] if health else []), *notes]), *counts, one["why"]


def _certificate(one: dict[str, Any], now: datetime) -> tuple[str, ...]:
    days = _days_left(one, now)
    names = ", ".join(one["names"]) or one["file"] or ""
    return names, one["source"], "" if days is None else str(days), one["error"] or ""


def _days_left(one: dict[str, Any], now: datetime) -> int | None:
    if not one["expires"]:
        return None
    return (datetime.fromisoformat(one["expires"]) - now).days


def _number(value: int) -> str:
    return f"{value:,}" if value else ""


def _line(text: str) -> str:
    return escape_control(text)
