"""Static files."""

from __future__ import annotations

from bench import material
from bench.load import sockets
from bench.load.http import wrk
from bench.server import accepts
from bench.trial import Contender, Figure, Trial, Workload

REQUESTS = "requests per CPU second"
PEERS = {name: Contender(name, "static") for name in ("npserver", "nginx", "caddy")}
ASGI = {name: Contender(name, "static") for name in ("granian", "uvicorn")}
TLS = {name: Contender(name, "tls") for name in ("npserver", "nginx", "caddy")}
CLOSE = {"Connection": "close"}


def _once(trial: Trial) -> Figure:
    """Warm up on the first scripts, measure on others."""
    sockets("once", trial.port, first=0, count=20)
    count = min(material.SCRIPTS - 20, int(trial.seconds * 200))
    return trial.loaded(lambda _: sockets("once", trial.port, first=20, count=count), warm_up_s=0)


def _among_idle(trial: Trial) -> Figure:
    """Memory of 10,000 idle connections."""
    return trial.held("http", 10_000)


WORKLOADS = (
    Workload(
        "static-small", "1 KB file, keep-alive", REQUESTS,
        lambda trial: trial.loaded(lambda seconds: wrk(trial.url("/small.html"), seconds)),
        PEERS | ASGI, {"nginx": 1.5},
        note="granian and uvicorn answer from memory through the least ASGI application; they are here for scale.",
    ),
    Workload(
        "static-varied", "1,000 files of 1-20 KB by popularity; user agents, cookies, Accept-Encoding vary", REQUESTS,
        lambda trial: trial.loaded(
            lambda seconds: wrk(trial.url(), seconds, requests=material.FOLDER / "requests-static")
        ),
        PEERS, {"nginx": 1.1},
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
        PEERS, {"nginx": 0.9},
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
        "static-idle", "10,000 idle keep-alive connections", "bytes per connection", _among_idle,
        {name: PEERS[name] for name in ("npserver", "nginx")}, is_less_better=True,
    ),
    Workload(
        "static-log", "1 KB file, keep-alive, access log in the combined form", REQUESTS,
        lambda trial: trial.loaded(lambda seconds: wrk(trial.url("/small.html"), seconds)),
        {name: Contender(name, "static-log") for name in ("npserver", "nginx")},
    ),
)  # fmt: skip
