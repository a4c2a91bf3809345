"""Draws the output of a terminal, text with ANSI colours, as an SVG picture of a window."""

from __future__ import annotations

import re
from html import escape

COLUMN, LINE = 8.43, 19  # pixels of a character and a line at 14 pixels
PADDING = 18
BAR = 30  # height of the title bar

COLOURS = {"31": "#ff7b72", "32": "#3fb950", "33": "#d29922", "36": "#58c4dc", "1": "#ffffff", "2": "#8b949e"}
_SEQUENCE = re.compile(r"\x1b\[([\d;]*)m")

STYLE = """
text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #d7dde4;
white-space: pre }
.title { font: 13px system-ui, sans-serif; fill: #8b949e }
"""


def picture(text: str, title: str) -> str:
    """Draw the lines of `text`."""
    lines = text.rstrip().split("\n")
    width = round(max(len(_SEQUENCE.sub("", line)) for line in lines) * COLUMN + 2 * PADDING)
    height = BAR + len(lines) * LINE + PADDING + 6
    drawn = "".join(_line(line, BAR + 18 + number * LINE) for number, line in enumerate(lines))
    buttons = "".join(
        f'<circle cx="{20 + 20 * number}" cy="15" r="6" fill="{colour}"/>'
        for number, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img"><title>{escape(title)}</title><style>{STYLE}</style>'
        f'<rect width="{width}" height="{height}" rx="9" fill="#0d1117" stroke="#30363d"/>{buttons}'
        f'<text class="title" x="{width / 2:.0f}" y="20" text-anchor="middle">{escape(title)}</text>{drawn}</svg>\n'
    )


def _line(line: str, y: int) -> str:
    """One line: a run of text per colour, each at its own column, so that no font can shift what follows."""
    parts, column, colour, end = [], 0, "", 0
    for match in [*_SEQUENCE.finditer(line), None]:
        run = line[end : match.start() if match else len(line)]
        if run.strip():
            indent = len(run) - len(run.lstrip())
            x = PADDING + (column + indent) * COLUMN
            length = len(run.strip()) * COLUMN
            fill = f' fill="{COLOURS[colour]}" style="fill:{COLOURS[colour]}"' if colour in COLOURS else ""
            parts.append(
                f'<text x="{x:.1f}" y="{y}" textLength="{length:.1f}" lengthAdjust="spacingAndGlyphs"{fill}>'
                f"{escape(run.strip())}</text>"
            )
        column += len(run)
        if match:
            colour = match[1].split(";")[-1]
            end = match.end()
    return "".join(parts)
