"""Bar charts of ratios as SVG, readable on light and dark pages."""

from __future__ import annotations

from html import escape

from bench.results import Outcome
from bench.trial import Workload

WIDTH, LEFT, RIGHT = 760, 190, 70
BAR, GAP, TOP = 13, 14, 46

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 14px }
.value { font-variant-numeric: tabular-nums }
.axis { stroke: #8c959f; stroke-width: 1 }
.aim { stroke: #1f2328; stroke-width: 2 }
.p0 { fill: #0969da } .p1 { fill: #8250df } .p2 { fill: #bf8700 } .p3 { fill: #1a7f37 } .p4 { fill: #cf222e }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .aim { stroke: #e6edf3 }
.p0 { fill: #58a6ff } .p1 { fill: #bc8cff } .p2 { fill: #d29922 } .p3 { fill: #3fb950 } .p4 { fill: #ff7b72 }
}
"""


def ratios(title: str, shown: list[tuple[Workload, Outcome]]) -> str:
    """Draw a group of bars for each workload, one bar for each peer; the thin line is 1, the short mark the aim."""
    peers = list(dict.fromkeys(peer for workload, outcome in shown for peer in outcome.ratios(workload)))
    most = max([ratio for workload, outcome in shown for ratio in outcome.ratios(workload).values()] or [1.0])
    limit = max(1.5, min(most, 6.0))
    scale = (WIDTH - LEFT - RIGHT) / limit
    parts = []
    y = TOP
    for workload, outcome in shown:
        found = outcome.ratios(workload)
        if not found:
            continue
        parts.append(_text(LEFT - 10, y + len(found) * BAR / 2 + 4, workload.name, "end"))
        for peer, ratio in found.items():
            length = min(ratio, limit) * scale
            parts.append(
                f'<rect class="p{peers.index(peer) % 5}" x="{LEFT}" y="{y}" width="{length:.1f}" '
                f'height="{BAR - 2}" rx="2"/>'
            )
            parts.append(_text(LEFT + length + 6, y + BAR - 3, f"{ratio:.2f}", "start", "value"))
            if aim := workload.targets.get(peer):
                at = LEFT + min(aim, limit) * scale
                parts.append(f'<line class="aim" x1="{at:.1f}" y1="{y - 1}" x2="{at:.1f}" y2="{y + BAR - 1}"/>')
            y += BAR
        y += GAP
    one = LEFT + scale
    axis = f'<line class="axis" x1="{one:.1f}" y1="{TOP - 8}" x2="{one:.1f}" y2="{y - GAP + 4}"/>'
    legend, x = [], LEFT
    for number, peer in enumerate(peers):
        legend.append(f'<rect class="p{number % 5}" x="{x}" y="26" width="10" height="10" rx="2"/>')
        legend.append(_text(x + 15, 35, f"to {peer}", "start"))
        x += 35 + 7 * len(f"to {peer}")
    head = _text(LEFT, 16, f"{title}: npserver's ratio to its peers, longer is better", "start", "title")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>{head}{''.join(legend)}{axis}{''.join(parts)}</svg>\n"
    )


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text{style} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
