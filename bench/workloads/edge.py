"""Workloads of what stands before a handler: limits, the cache."""

from __future__ import annotations

from bench.load.http import wrk
from bench.trial import Contender, Workload

REQUESTS = "requests per CPU second"

WORKLOADS = (
    Workload(
        "edge-limit", "1 KB file, keep-alive, by a rule with a rate limit per client that none exceeds", REQUESTS,
        lambda trial: trial.loaded(lambda seconds: wrk(trial.url("/small.html"), seconds)),
        {name: Contender(name, "static-limit") for name in ("npserver", "nginx")}, {"nginx": 1.3},
    ),
    Workload(
        "edge-cache", "1 KB answers of an application, from the cache", REQUESTS,
        lambda trial: trial.loaded(lambda seconds: wrk(trial.url(), seconds)),
        {name: Contender(name, "cache") for name in ("npserver", "nginx")}, {"nginx": 0.5}, backend="http",
    ),
)  # fmt: skip
