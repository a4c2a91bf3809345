"""The rules and listeners, the processes and their last errors on the status page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from npserver.listen.drains import drained_listeners
from npserver.web.handlers.status.table import Markup, badge, table, utc

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from npserver.observe.last_errors import LoggedError
    from npserver.runtime.scoreboard import Scoreboard

_LEVELS = ((50, "fatal"), (40, "error"), (0, "warning"))
_UNTIMED = (
    '<p class="soft">How long requests take, by rule and target, is shown with '
    "<code>&quot;metrics&quot;: { &quot;times&quot;: true }</code>.</p>"
)
_COLUMNS = (
    ("requests", "http.requests", 1), ("connections open", "gauge.http.connections", 1),
    ("forwards", "forward.sessions", 1), ("forwards open", "gauge.forward.sessions", 1),
    ("CPU seconds", "process.cpu_microseconds", 10**6), ("memory, MB", "gauge.process.resident_bytes", 2**20),
)  # fmt: skip


def listener_table(summary: Iterable[tuple[str, str]], latest: Mapping[str, Any], *, is_timed: bool) -> str:
    """Return the listeners, each with its rules in the order of the config, and whether it is drained.

    `summary`: listener and rule, of each; `latest`: the latest values of all topics; `is_timed`: whether requests are
    measured, else it is told how they are.
    """
    drained = {one["label"] for one in drained_listeners(latest).values()}
    rows, last = [], ""
    for label, what in summary:
        place, _, rest = what.partition("  ")
        shown = f"{label} (drained)" if label in drained else label
        rows.append((shown if label != last else "", place if rest else "all", rest or place))
        last = label
    shown = table(("listener", "for", "rule"), rows, 5_000)
    return shown + _UNTIMED if shown and not is_timed else shown


def worker_table(board: Scoreboard) -> str:
    """Return what each worker has done and does; columns of zeros are left out."""
    names = board.directory.names
    columns = [(head, names[name], size) for head, name, size in _COLUMNS if name in names]
    columns = [column for column in columns if any(row[column[1]] for row in board.rows[1:])]
    rows = [
        (f"worker {number}", *[row[slot] // size or Markup("") for _, slot, size in columns])
        for number, row in enumerate(board.rows[1:])
    ]
    return table(("process", *[head for head, _, _ in columns]), rows, 2_500) if columns else ""


def error_table(errors: Sequence[LoggedError]) -> str:
    """Return the last warnings and errors."""
    rows = [
        (
            utc(one.at, "%Y-%m-%d %H:%M:%S"),
            _level(one.level),
            one.text,
            f"{one.count:,} times" if one.count > 1 else "",
        )
        for one in errors
    ]
    return table(("time (UTC)", "level", "what", "how often"), rows, 4_500)


def errors_as_json(errors: Sequence[LoggedError]) -> list[dict[str, object]]:
    """Return what JSON tells of each; times are in ISO 8601."""
    return [
        {
            "time": utc(one.at),
            "level": _word(one.level),
            "text": one.text,
            "count": one.count,
        }
        for one in errors
    ]


def _level(level: int) -> Markup:
    word = _word(level)
    return badge("soft" if word == "warning" else "bad", word)


def _word(level: int) -> str:
    return next(word for least, word in _LEVELS if level >= least)
