"""Workloads of static files."""

from __future__ import annotations

from bench import material
from bench.load import sockets
from bench.load.http import steady, wrk
from bench.server import accepts
from bench.trial import LONG_WARM_UP_S, Contender, Figure, Trial, Workload

REQUESTS = "requests per CPU second"
PEERS = {name: Contender(name, "static") for name in ("npserver", "nginx", "caddy")}
#: nginx in `PEERS` is as Debian configures it; this one has the cache of open files that its documentation describes.
CACHED = {"nginx cached": Contender("nginx", "static-cached")}
ASGI = {name: Contender(name, "static") for name in ("granian", "uvicorn")}
TLS = {name: Contender(name, "tls") for name in ("npserver", "nginx", "caddy")}
CLOSE = {"Connection": "close"}


def _once(trial: Trial) -> Figure:
    """Warm up on the first scripts, measure on others."""
    sockets("once", trial.port, first=0, count=20)
    count = min(material.SCRIPTS - 20, int(trial.seconds * 200))
    return trial.loaded(lambda _: sockets("once", trial.port, first=20, count=count), warm_up_s=0)


def _live(trial: Trial) -> Figure:
    """Measure the latency of a modest load, beside idle connections or alone."""
    with trial.holding("http", trial.contender.idle):
        load = steady(trial.url("/small.html"), trial.seconds, 500, connections=4)
    return Figure(
        load.p99_us, rate=load.count / load.seconds, p50_us=load.p50_us, p99_us=load.p99_us, errors=load.errors
    )


WORKLOADS = (
    Workload(
        "static-small", "1 KB file, keep-alive", REQUESTS,
        lambda trial: trial.loaded(lambda seconds: wrk(trial.url("/small.html"), seconds)),
        PEERS | CACHED | ASGI, {"nginx": 1.5},
        note="granian and uvicorn answer from memory through the least ASGI application; they are here for scale.",
    ),
    *(
        Workload(
            f"static-small-{key}", f"1 KB file, keep-alive, by a rule with {what}", REQUESTS,
            lambda trial: trial.loaded(lambda seconds: wrk(trial.url("/small.html"), seconds)),
            {name: Contender(name, f"static-{key}") for name in ("npserver", "nginx")}, {"nginx": 1.5},
        )
        for key, what in {"headers": "`response_headers`", "allow": "`allow`"}.items()
    ),
    Workload(
        "static-varied", "1,000 files of 1-20 KB by popularity; user agents, cookies, Accept-Encoding vary", REQUESTS,
        lambda trial: trial.loaded(
            lambda seconds: wrk(trial.url(), seconds, requests=material.FOLDER / "requests-static"),
            warm_up_s=LONG_WARM_UP_S,
        ),
        PEERS | CACHED, {"nginx": 1.1},
    ),
    Workload(
        "static-large", "100 MB file", "bytes per CPU second",
        lambda trial: trial.loaded(lambda seconds: sockets("download", trial.port, path="/large.bin", seconds=seconds)),
        PEERS, {"nginx": 1.0},
    ),
    Workload(
        "static-gzip", "gzip of a 200 KB script, repeated", REQUESTS,
        lambda trial: trial.loaded(
            lambda seconds: wrk(trial.url("/script.js"), seconds, connections=8, fields={"Accept-Encoding": "gzip"})
        ),
        PEERS, {"nginx": 3.0},
        note="npserver keeps the compressed file; nginx and Caddy have no such cache and compress each time.",
    ),
    Workload(
        "static-gzip-first", "gzip of 200 KB scripts, each asked for once", REQUESTS, _once, PEERS, {"nginx": 1.5},
    ),
    Workload(
        "static-connect", "a new connection for each 1 KB file", REQUESTS,
        lambda trial: trial.loaded(lambda seconds: wrk(trial.url("/small.html"), seconds, fields=CLOSE)),
        PEERS | CACHED, {"nginx": 0.9},
    ),
    Workload(
        "tls-small", "1 KB file over TLS 1.3, keep-alive", REQUESTS,
        lambda trial: trial.loaded(lambda seconds: wrk(trial.url("/small.html", "https"), seconds)),
        TLS, {"nginx": 1.2}, accepts,
    ),
    Workload(
        "tls-connect", "a new TLS 1.3 connection for each 1 KB file", REQUESTS,
        lambda trial: trial.loaded(lambda seconds: wrk(trial.url("/small.html", "https"), seconds, fields=CLOSE)),
        TLS, {"nginx": 0.8}, accepts,
    ),
    Workload(
        "static-idle", "10,000 idle keep-alive connections", "bytes per connection",
        lambda trial: trial.held("http", 10_000, files_each=1),
        {name: PEERS[name] for name in ("npserver", "nginx")}, is_less_better=True,
    ),
    Workload(
        "static-live", "500 requests a second beside 10,000 idle connections",
        "microseconds at the 99th percentile", _live,
        {
            "npserver": Contender("npserver", "static", idle=10_000),
            "npserver alone": Contender("npserver", "static"),
            "nginx": Contender("nginx", "static", idle=10_000),
        }, is_less_better=True,
    ),
    Workload(
        "static-log", "1 KB file, keep-alive, access log in the combined form", REQUESTS,
        lambda trial: trial.loaded(lambda seconds: wrk(trial.url("/small.html"), seconds)),
        {name: Contender(name, "static-log") for name in ("npserver", "nginx")},
    ),
)  # fmt: skip
