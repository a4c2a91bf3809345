"""Writes `docs/benchmarks.md` from the results: tables, plots, and how it was measured."""

from __future__ import annotations

from collections.abc import Iterator

from bench import plot
from bench.machine import ROOT
from bench.results import Outcome, Results
from bench.trial import Workload
from bench.workloads import GROUPS

PAGE = ROOT / "docs" / "benchmarks.md"
PLOTS = ROOT / "docs" / "benchmarks"

COLUMNS = (
    "npserver's ratio", "spread", "per second", "p50", "p99", "memory", "server busy", "load busy", "errors"
)  # fmt: skip

METHOD = """\
The question is what a request costs, not how many a busy machine pushes through: the figure is **work per second of CPU
time**, user and system time of all the server's processes (children included), from the kernel's accounting
(`/proc/PID`). A ratio of 1.2 means that npserver does 1.2 times as much with the same processor.

- Everything runs on loopback: the server on one core, the load generator and the backend on the other.
- Contenders take turns in every repetition; the tables show medians, and the spread from the least to the most.
- Each trial starts the server afresh and warms it up: for half a second, two where what is asked for varies.
- Features stay on in npserver: Date, Last-Modified, ETag, limits, timeouts and counters. Access logs are off
  everywhere, and on everywhere in `static-log`.
- npserver runs its master, its controller and one worker; all of them count.
- "load busy" is how busy the other core was. At 100 % the generator was the limit, which lowers throughput and may
  lower a server's efficiency, though not its CPU time per request by itself.
- The configs are in `bench/peers/`, tuned as each peer's own documentation advises. `make bench` repeats all of this.
- "nginx" serves files as Debian configures it (sendfile, tcp_nopush); "nginx cached" has `open_file_cache` besides.
  Peers are Debian's packages, and npserver runs with Debian's Python where that is of the version it is installed for.
- npserver has connections over loopback unpaced where the machine's congestion control is BBR; its peers have no such
  rule and use what the machine has. Bulk bytes gain by it, small messages do not (performance.md has figures of both).
- Where npserver is behind, [performance.md](performance.md) says with a profile what stands in the way.
"""


def write(results: Results) -> None:
    """Write the page and its plots."""
    PLOTS.mkdir(parents=True, exist_ok=True)
    for title, group in GROUPS.items():
        shown = [(workload, results.outcomes[workload.name]) for workload in group if workload.name in results.outcomes]
        if shown:
            (PLOTS / f"{_slug(title)}.svg").write_text(plot.ratios(title, shown))
    PAGE.write_text("\n".join(_page(results)) + "\n")


def line(workload: Workload, outcome: Outcome) -> str:
    """Return one outcome as a line for the terminal."""
    values = ", ".join(f"{label} {amount(outcome.value(label))}" for label in outcome.figures)
    ratios = ", ".join(f"{ratio:.2f} x {peer}" for peer, ratio in outcome.ratios(workload).items())
    errors = sum(figure.errors for figures in outcome.figures.values() for figure in figures)
    trouble = f"  {errors} ERRORS" if errors else ""
    return f"{workload.name:18} {ratios:40} {workload.unit}: {values}{trouble}"


def amount(value: float) -> str:
    """Return a number in three significant digits: `1,230,000` or `12.3`."""
    if value >= 1e9:
        return f"{value / 1e9:.2f} G"
    if value >= 1e7:
        return f"{value / 1e6:.1f} M"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _page(results: Results) -> Iterator[str]:
    yield "# Benchmarks\n"
    yield "Written by `make bench`; do not edit.\n"
    yield METHOD
    yield "## Machine and versions\n"
    yield ", ".join(f"{name} {value}" for name, value in results.machine.items() if value) + ".\n"
    if results.versions:
        yield ", ".join(f"{name} {version}" for name, version in results.versions.items()) + ".\n"
    for title, group in GROUPS.items():
        shown = [(workload, results.outcomes[workload.name]) for workload in group if workload.name in results.outcomes]
        if shown:
            yield f"## {title}\n"
            yield f"![npserver against its peers]({PLOTS.name}/{_slug(title)}.svg)\n"
            for workload, outcome in shown:
                yield from _section(workload, outcome)


def _section(workload: Workload, outcome: Outcome) -> Iterator[str]:
    yield f"### `{workload.name}`: {workload.title}\n"
    if workload.note:
        yield f"{workload.note}\n"
    better = "less is better" if workload.is_less_better else "more is better"
    heads = [f"{workload.unit} ({better})", *COLUMNS]
    yield f"| | {' | '.join(heads)} |"
    yield f"|---{'|---:' * len(heads)}|"
    ratios = outcome.ratios(workload)
    for label in outcome.figures:
        figure = outcome.middle(label)
        ratio = f"**{ratios[label]:.2f}**" if label in ratios else ""
        if (target := workload.targets.get(label)) and label in ratios:
            ratio += f" (aim {target:g})"
        cells = [
            label,
            amount(outcome.value(label)),
            ratio,
            f"{outcome.spread(label):.0%}",
            amount(figure.rate) if figure.rate else "",
            f"{figure.p50_us:,.0f} µs" if figure.p50_us else "",
            f"{figure.p99_us:,.0f} µs" if figure.p99_us else "",
            f"{figure.memory_bytes / (1 << 20):.1f} MB" if figure.memory_bytes else "",
            f"{figure.server_busy:.0%}" if figure.server_busy else "",
            f"{figure.load_busy:.0%}" if figure.load_busy else "",
            str(sum(one.errors for one in outcome.figures[label]) or ""),
        ]
        yield f"| {' | '.join(cells)} |"
    count = max(map(len, outcome.figures.values()))
    yield f"\n{count} repetitions of {outcome.seconds:g} s, {outcome.date}.\n"


def _slug(title: str) -> str:
    return title.lower().replace(" ", "-")
