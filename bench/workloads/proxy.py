"""Workloads of the reverse proxy, of FastCGI and of WebSockets."""

from __future__ import annotations

from bench import material
from bench.load import sockets
from bench.load.http import steady, wrk
from bench.server import accepts
from bench.trial import LONG_WARM_UP_S, Contender, Figure, Trial, Workload
from bench.workloads.static import REQUESTS

PEERS = {name: Contender(name, "proxy") for name in ("npserver", "nginx", "haproxy", "caddy")}
STEADY_RATE = 8000.0  # requests per second


def _steady(trial: Trial) -> Figure:
    """Measure latency at a rate that leaves room; the value is the 99th percentile."""
    figure = trial.loaded(lambda seconds: steady(trial.url(), seconds, STEADY_RATE))
    return Figure(
        figure.p99_us, figure.rate, figure.p50_us, figure.p99_us, figure.memory_bytes, figure.server_busy,
        figure.load_busy, figure.errors,
    )  # fmt: skip


WORKLOADS = (
    Workload(
        "proxy-small", "1 KB answers over kept connections", REQUESTS,
        lambda trial: trial.loaded(lambda seconds: wrk(trial.url(), seconds)),
        PEERS, {"nginx": 0.9, "haproxy": 1.0, "caddy": 4.0}, backend="http",
    ),
    Workload(
        "proxy-varied", "the same; paths, cookies, user agents vary", REQUESTS,
        lambda trial: trial.loaded(
            lambda seconds: wrk(trial.url(), seconds, requests=material.FOLDER / "requests-proxy"),
            warm_up_s=LONG_WARM_UP_S,
        ),
        PEERS, {"nginx": 0.75}, backend="http",
    ),
    Workload(
        "proxy-large", "1 MB answers", REQUESTS,
        lambda trial: trial.loaded(lambda seconds: wrk(trial.url("/large"), seconds, connections=8)),
        PEERS, {"nginx": 1.0}, backend="http",
    ),
    Workload(
        "edge-compress", "100 KB answers, compressed with gzip", REQUESTS,
        lambda trial: trial.loaded(
            lambda seconds: wrk(trial.url("/page"), seconds, connections=8, fields={"Accept-Encoding": "gzip"})
        ),
        {name: Contender(name, "compress") for name in ("npserver", "nginx", "caddy")}, {"nginx": 1.5}, backend="http",
    ),
    Workload(
        "proxy-latency", "99th percentile at a steady rate", "microseconds", _steady,
        PEERS, {"nginx": 1.0}, backend="http", is_less_better=True,
        note=f"{STEADY_RATE:,.0f} requests a second, whatever the server does: some 70 % of what nginx can do here.",
    ),
    Workload(
        "fastcgi", "1 KB answers of a script by FastCGI", REQUESTS,
        lambda trial: trial.loaded(lambda seconds: wrk(trial.url("/index.php?page=1"), seconds)),
        {name: Contender(name, "fastcgi") for name in ("npserver", "nginx")}, {"nginx": 0.5}, accepts, "fastcgi",
    ),
    Workload(
        "websocket", "WebSocket echo, 125-byte messages", "messages per CPU second",
        lambda trial: trial.loaded(
            lambda seconds: sockets("messages", trial.port, kind="websocket", size=126, seconds=seconds)
        ),
        PEERS, {"nginx": 1.0}, accepts, "websocket",
    ),
    Workload(
        "websocket-idle", "up to 10,000 idle WebSockets", "bytes per WebSocket",
        lambda trial: trial.held("websocket", 10_000),
        {name: PEERS[name] for name in ("npserver", "nginx", "haproxy")}, {}, accepts, "websocket",
        is_less_better=True,
    ),
)  # fmt: skip
