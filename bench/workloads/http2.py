"""Workloads of HTTP/2 and HTTP/3 to clients: many streams on each of a few connections."""

from __future__ import annotations

from bench import material
from bench.load.http import gtlsclient, h2load, wrk
from bench.server import accepts
from bench.trial import Contender, Workload
from bench.workloads.static import REQUESTS

FILES = {name: Contender(name, "h2") for name in ("npserver", "nginx", "caddy")}
PLAIN = {name: Contender(name, "h2c") for name in ("npserver", "nginx", "caddy")}
QUIC = {name: Contender(name, "h3") for name in ("npserver", "caddy")}
UPSTREAMS = {name: Contender(name, "proxy-h2c") for name in ("npserver", "haproxy", "caddy")}
PROXIES = {name: Contender(name, "h2-proxy") for name in ("npserver", "nginx", "caddy")}
CALLS = {name: Contender(name, "grpc") for name in ("npserver", "nginx", "caddy")}
_CALL = ("-d", str(material.GRPC / "call"), "-H", "content-type: application/grpc", "-H", "te: trailers")

WORKLOADS = (
    Workload(
        "h2-small", "1 KB file over HTTP/2", REQUESTS,
        lambda trial: trial.loaded(lambda seconds: h2load(trial.url("/small.html", "https"), seconds)),
        FILES, {"nginx": 1.5}, accepts,
    ),
    Workload(
        "h2-varied", "files of 1-20 KB by popularity over HTTP/2, each with a query of its own", REQUESTS,
        lambda trial: trial.loaded(
            lambda seconds: h2load(trial.url("/", "https"), seconds, urls=material.varied_urls())
        ),
        FILES, {"nginx": 1.1}, accepts,
    ),
    Workload(
        "h2c-small", "1 KB file over HTTP/2 without TLS", REQUESTS,
        lambda trial: trial.loaded(lambda seconds: h2load(trial.url("/small.html"), seconds)),
        PLAIN, {"nginx": 1.5, "caddy": 3.0}, accepts,
    ),
    Workload(
        "h3-small", "1 KB file over HTTP/3", REQUESTS,
        lambda trial: trial.loaded(lambda seconds: gtlsclient(trial.url("/small.html", "https"), seconds)),
        QUIC, {"caddy": 0.5}, accepts,
    ),
    Workload(
        "h2-large", "1 MB file over HTTP/2", REQUESTS,
        lambda trial: trial.loaded(
            lambda seconds: h2load(trial.url("/megabyte.bin", "https"), seconds, connections=4, streams=4)
        ),
        FILES, {"nginx": 1.0}, accepts,
    ),
    Workload(
        "h2-proxy", "1 KB answers of an upstream over HTTP/2", REQUESTS,
        lambda trial: trial.loaded(lambda seconds: h2load(trial.url("/", "https"), seconds)),
        PROXIES, {"nginx": 1.0}, accepts, "http",
    ),
    Workload(
        "grpc-unary", "unary calls of gRPC, messages of 100 bytes", REQUESTS,
        lambda trial: trial.loaded(
            lambda seconds: h2load(trial.url("/bench.Calls/Unary"), seconds, arguments=_CALL)
        ),
        CALLS, {"nginx": 0.5, "caddy": 3.0}, accepts, "grpc",
        note="nginx speaks HTTP/2 to upstreams by `grpc_pass`; the server is nghttpd.",
    ),
    Workload(
        "h2c-upstream", "1 KB answers of an upstream over HTTP/2, to clients of HTTP/1.1", REQUESTS,
        lambda trial: trial.loaded(lambda seconds: wrk(trial.url(), seconds)),
        UPSTREAMS, {"caddy": 3.0}, backend="h2c",
    ),
)  # fmt: skip
