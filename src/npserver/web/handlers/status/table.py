"""Tables, numbers, times and charts of the status page, as HTML. Whatever is not `Markup` is escaped.

On a phone each row is a block: its first cell is its title, the others are named by `data-h`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from html import escape
from itertools import compress

MAX_TEXT = 160  # characters of a cell


class Markup(str):
    """A text that is HTML already."""

    __slots__ = ()


class Figure(Markup):
    """A number with its unit, or a time; "" for none. On a phone the column's name stands before it."""

    __slots__ = ()


def table(heads: Sequence[str], rows: Iterable[Sequence[str | int]], budget: int, more: int = 0) -> str:
    """Return a table, "" without rows; columns without content are left out.

    `budget`: bytes that the rows may take; the number of the others is told, with `more` that are not in `rows`.
    """
    rows = list(rows)
    used = [any(row[column] != "" for row in rows) for column in range(len(heads))]
    heads = list(compress(heads, used))
    shown: list[str] = []
    for row in rows:
        text = f"<tr>{''.join(map(_cell, heads, compress(row, used)))}</tr>\n"
        budget -= len(text.encode())
        if budget < 0:
            break
        shown.append(text)
    if not shown:
        return ""
    left_out = len(rows) - len(shown) + more
    names = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    rest = f'<p class="soft">{left_out:,} more are in the JSON.</p>' if left_out else ""
    return f"<table><thead><tr>{names}</tr></thead><tbody>\n{''.join(shown)}</tbody></table>{rest}"


def _cell(head: str, value: str | int) -> str:
    named = f' data-h="{escape(head)}"'
    if isinstance(value, int):
        return f'<td class="n"{named}>{value:,}</td>'
    if value == "":
        return "<td></td>"
    if isinstance(value, Figure):
        return f'<td class="n"{named}>{value}</td>'
    return f"<td{named}>{value if isinstance(value, Markup) else text(value)}</td>"


def text(value: str) -> Markup:
    """Return a text as HTML: escaped, and not longer than a page can bear."""
    shown = value if len(value) <= MAX_TEXT else f"{value[:MAX_TEXT]}…"
    return Markup(escape(shown.encode("utf-8", "replace").decode()))


def badge(kind: str, word: str) -> Markup:
    """Return a word with a sign of its kind: `good`, `bad`, or `soft` for neither. The word tells as much."""
    return Markup(f'<b class="{kind}">{escape(word)}</b>')


def chart(values: Sequence[float], what: str, unit: str = "") -> Markup:
    """Return a chart of values, the oldest first; its label says the last and the highest one."""
    if not values or not any(values):
        return Markup("")
    top = max(values)
    last = len(values) - 1
    points = " ".join(
        f"{index * 99 // max(1, last)},{22 - round(20 * value / top)}" for index, value in enumerate(values)
    )
    label = f"{what}: now {amount(values[-1])}{unit}, at most {amount(top)}{unit}"
    return Markup(
        f'<svg viewBox="0 0 99 23" preserveAspectRatio="none" role="img" aria-label="{escape(label)}">'
        f'<polyline points="{points}"/></svg>'
    )


def amount(value: float) -> str:
    """Return a number with two or three digits that matter, such as `0.5`, `12` or `3.4k`."""
    for limit, unit in ((1e3, ""), (1e6, "k"), (1e9, "M"), (1e12, "G"), (float("inf"), "T")):
        if value < limit * 0.9995:
            scaled = value / (limit / 1e3) if unit != "T" else value / 1e12
            digits = f"{scaled:.0f}" if scaled >= 10 or scaled == int(scaled) else f"{scaled:.1f}"
            return f"{digits}{unit}"
    return ""


def utc(at: float, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    """Return a time in seconds since 1970 as text, by default in ISO 8601; "" for 0."""
    return time.strftime(form, time.gmtime(at)) if at else ""


def span(seconds: float) -> str:
    """Return a length of time in its largest unit: `40 s`, `12 min`, `5 h`, `3 d`."""
    seconds = max(0.0, seconds)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
