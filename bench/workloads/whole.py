"""Workloads of npserver as a whole: start, memory, a second worker, many rules."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from bench import material
from bench.load.http import wrk
from bench.trial import LONG_WARM_UP_S, Contender, Figure, Trial, Workload
from bench.workloads.static import PEERS, REQUESTS


def _start(trial: Trial) -> Figure:
    return Figure(trial.server.start_s * 1000, memory_bytes=trial.server.memory_bytes())


def _idle(trial: Trial) -> Figure:
    memory = trial.server.memory_bytes()
    return Figure(memory, memory_bytes=memory)


def _rules(count: int) -> Callable[[], Mapping[str, str]]:
    """Return a function that writes `count` rules, each for a path of its own and all paths below it."""

    def places() -> Mapping[str, str]:
        rules = [{"handler": "respond", "path": f"/r{n}/**", "body": f"rule {n}"} for n in range(count)]
        locations = [f'        location /r{n}/ {{ return 200 "rule {n}"; }}' for n in range(count)]
        return {"rules": json.dumps(rules), "locations": "\n".join(locations)}

    return places


def _routed(count: int) -> Workload:
    return Workload(
        f"routes-{count}", f"{material.ROUTED_PATHS:,} paths, by {count:,} rules", REQUESTS,
        lambda trial: trial.loaded(
            lambda seconds: wrk(trial.url(), seconds, requests=material.routed_requests(count)),
            warm_up_s=LONG_WARM_UP_S,
        ),
        {name: Contender(name, "routes", _rules(count)) for name in ("npserver", "nginx")},
    )  # fmt: skip


WORKLOADS = (
    _routed(1),
    _routed(100),
    _routed(10_000),
    Workload(
        "scaling", "1 KB file: two workers on two cores against one", REQUESTS,
        lambda trial: trial.loaded(lambda seconds: wrk(trial.url("/small.html"), seconds, connections=64)),
        {"two workers": Contender("npserver", "static-two", core="0,1"), "one worker": PEERS["npserver"]},
        note="Work per CPU second: 1.0 means that a second worker costs nothing.",
    ),
    Workload(
        "start", "from exec to the first answer, two workers on two cores", "milliseconds", _start,
        {"npserver": Contender("npserver", "static-two", core="0,1"), "nginx": PEERS["nginx"], "caddy": PEERS["caddy"]},
        is_less_better=True,
    ),
    Workload(
        "memory", "memory at rest, all processes", "bytes", _idle, PEERS, is_less_better=True,
        note="npserver: master, controller and one worker.",
    ),
)  # fmt: skip
