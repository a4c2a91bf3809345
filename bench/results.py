"""Figures in files. `bench/results/latest.json` is committed; each run tells what became worse since then."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.machine import ROOT
from bench.trial import Figure, Workload

LATEST = ROOT / "bench" / "results" / "latest.json"
WORSE = 0.9  # of the former ratio: a tenth lost is said


@dataclass(slots=True)
class Outcome:
    """All repetitions of one workload: figures by contender."""

    date: str
    seconds: float
    figures: dict[str, list[Figure]]

    def value(self, label: str) -> float:
        """Return the median of the repetitions."""
        return median(figure.value for figure in self.figures[label])

    def spread(self, label: str) -> float:
        """Return the distance from the least to the greatest value, as a share of the median."""
        values = [figure.value for figure in self.figures[label]]
        return (max(values) - min(values)) / median(values) if median(values) else 0.0

    def middle(self, label: str) -> Figure:
        """Return the repetition whose value is the median (the upper one of two)."""
        ranked = sorted(self.figures[label], key=lambda figure: figure.value)
        return ranked[len(ranked) // 2]

    def ratios(self, workload: Workload) -> dict[str, float]:
        """Return how many times better the first contender is than each other."""
        first, *others = workload.contenders
        if first not in self.figures:
            return {}
        return {
            label: workload.ratio(self.value(first), self.value(label)) for label in others if label in self.figures
        }


@dataclass(slots=True)
class Results:
    """The content of a file of results."""

    machine: dict[str, str]
    versions: dict[str, str]
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def merged(self, newer: Results) -> Results:
        """Return results with newer outcomes in place of older ones; results of different machines are not mixed."""
        kept = self.outcomes if self.machine == newer.machine else {}
        return Results(newer.machine, {**self.versions, **newer.versions}, {**kept, **newer.outcomes})

    def save(self, path: Path) -> None:
        """Write the file."""
        content = {
            "machine": self.machine,
            "versions": self.versions,
            "workloads": {name: asdict(outcome) for name, outcome in self.outcomes.items()},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")


def load(path: Path) -> Results | None:
    """Read a file of results; None if there is none."""
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text())
    outcomes = {
        name: Outcome(
            entry["date"],
            entry["seconds"],
            {label: [Figure(**figure) for figure in figures] for label, figures in entry["figures"].items()},
        )
        for name, entry in content["workloads"].items()
    }
    return Results(content["machine"], content["versions"], outcomes)


def unlike(outcome: Outcome) -> list[str]:
    """Return the contenders whose responses have half or double the usual size: they do not do the same work."""
    sizes = {label: figures[0].size for label, figures in outcome.figures.items() if figures and figures[0].size}
    usual = median(sizes.values()) if sizes else 0.0
    return [label for label, size in sizes.items() if not usual / 2 <= size <= usual * 2]


def losses(workloads: dict[str, Workload], before: Results, now: Results) -> list[str]:
    """Return what lost more than a tenth: against a peer, or by itself where no peer does the same on this machine."""
    found = []
    for name, outcome in now.outcomes.items():
        former = before.outcomes.get(name)
        workload = workloads.get(name)
        if former is None or workload is None:
            continue
        ratios, former_ratios = outcome.ratios(workload), former.ratios(workload)
        found += [
            f"{name}: {ratios[peer]:.2f} times {peer}, was {former_ratios[peer]:.2f}"
            for peer in ratios.keys() & former_ratios.keys()
            if ratios[peer] < WORSE * former_ratios[peer]
        ]
        ours = next(iter(outcome.figures))
        if not ratios and before.machine == now.machine and ours in former.figures:
            change = workload.ratio(outcome.value(ours), former.value(ours))
            if change < WORSE:
                found.append(f"{name}: {change:.0%} of what it was")
    return sorted(found)
