"""Run the benchmarks: `python -m bench [options] [workload ...]`, see `--help`."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

from bench import material, report, results
from bench.install import install
from bench.machine import RUN, describe
from bench.peers import ALL as PEERS
from bench.peers import npserver_of
from bench.results import LATEST, Outcome, Results, unlike
from bench.trial import Contender, Figure, Trial, Workload
from bench.workloads import ALL, GROUPS

QUICK_S, QUICK_REPEATS = 1.0, 1
SECONDS, REPEATS = 3.0, 5
OTHER = "other checkout"
LOST = 0.97  # the least ratio to it: more lost is a loss


def main() -> int:
    """Run the benchmarks that the command line asks for."""
    options = _arguments()
    if options.list:
        for title, group in GROUPS.items():
            print(title)
            for workload in group:
                print(f"  {workload.name:18} {workload.title} ({', '.join(workload.contenders)})")
        return 0
    before = results.load(LATEST)
    if options.report:
        report.write(before or Results(describe(), {}))
        return 0
    chosen = _chosen(options)
    if options.against:
        PEERS[OTHER] = npserver_of(options.against.absolute(), OTHER)
        chosen = [_against(workload) for workload in chosen]
    _allow_files()
    install({contender.peer for workload in chosen for contender in workload.contenders.values()})
    material.prepare()
    found = _run(chosen, options)
    if before is not None and not options.against:
        worse = results.losses(ALL, before, found)
        print("\n".join(["", "a tenth worse than the last results:", *worse]) if worse else "\nnothing lost a tenth")
    if options.quick or options.peers or options.against:
        path = RUN / ("against.json" if options.against else "quick.json")
        found.save(path)
    else:
        path = LATEST
        merged = before.merged(found) if before is not None else found
        merged.save(path)
        report.write(merged)
    print(f"figures in {path}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="npserver side by side with its peers")
    parser.add_argument("workloads", nargs="*", help="names or their beginnings; default: all")
    parser.add_argument("--list", action="store_true", help="say what there is")
    parser.add_argument("--quick", action="store_true", help="one repetition of a second each; nothing is recorded")
    parser.add_argument("--repeat", type=int, help=f"repetitions, default {REPEATS}")
    parser.add_argument("--seconds", type=float, help=f"of load each time, default {SECONDS:g}")
    parser.add_argument("--peers", help="only these contenders, comma-separated; nothing is recorded")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="the only peer: npserver of another checkout")
    parser.add_argument("--report", action="store_true", help="write docs/benchmarks.md from the last results")
    options = parser.parse_args()
    options.repeat = options.repeat or (QUICK_REPEATS if options.quick else REPEATS)
    options.seconds = options.seconds or (QUICK_S if options.quick else SECONDS)
    return options


def _chosen(options: argparse.Namespace) -> list[Workload]:
    names = options.workloads or [""]
    chosen = [workload for name, workload in ALL.items() if any(name.startswith(start) for start in names)]
    if not chosen:
        sys.exit(f"no workload is called {' '.join(names)}; --list shows them all")
    return chosen


def _against(workload: Workload) -> Workload:
    """Return the workload with the npserver of another checkout as the only peer, under the same config."""
    first, contender = next(iter(workload.contenders.items()))
    contenders = {first: contender, OTHER: replace(contender, peer=OTHER)}
    return replace(workload, contenders=contenders, targets={OTHER: LOST})


def _run(chosen: list[Workload], options: argparse.Namespace) -> Results:
    versions = {name: version for name, peer in PEERS.items() if (version := peer.version())}
    found = Results(describe(), versions)
    for workload in chosen:
        contenders = _contenders(workload, versions, options)
        figures: dict[str, list[Figure]] = {label: [] for label in contenders}
        for repetition in range(options.repeat):
            labels = list(contenders)
            turn = repetition % len(labels) if labels else 0
            for label in labels[turn:] + labels[:turn]:  # interleaved, nobody always first
                figure = _try(workload, label, options.seconds)
                if figure is not None:
                    figures[label].append(figure)
        outcome = Outcome(time.strftime("%Y-%m-%d"), options.seconds, {k: v for k, v in figures.items() if v})
        for label in unlike(outcome):
            print(f"{workload.name}: {label} gives answers of another size", file=sys.stderr)
        if outcome.figures:
            found.outcomes[workload.name] = outcome
            print(report.line(workload, outcome), flush=True)
    return found


def _contenders(workload: Workload, versions: dict[str, str], options: argparse.Namespace) -> dict[str, Contender]:
    """Return the contenders that are installed and wanted; in a quick run npserver and those that have an aim."""
    wanted = options.peers.split(",") if options.peers else list(workload.contenders)
    if options.quick and not options.peers:
        first, *others = workload.contenders
        wanted = [first, *(workload.targets or others[:1])]
    found = {label: one for label, one in workload.contenders.items() if label in wanted}
    for label, contender in list(found.items()):
        if contender.peer not in versions:
            print(f"{workload.name}: {label} is not installed and left out", file=sys.stderr)
            del found[label]
    return found


def _try(workload: Workload, label: str, seconds: float) -> Figure | None:
    try:
        with Trial(workload, workload.contenders[label], seconds) as trial:
            return workload.run(trial)
    except (RuntimeError, OSError) as error:
        print(f"{workload.name}: {label}: {error}", file=sys.stderr)
        return None


def _allow_files() -> None:
    """Raise the limit of open files as far as the system allows: a proxy of 10,000 connections needs 20,000."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (100_000, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), max(hard, wanted)))
        except (OSError, ValueError):
            continue
        return


if __name__ == "__main__":
    sys.exit(main())
