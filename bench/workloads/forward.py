"""Workloads of TCP and UDP forwarding."""

from __future__ import annotations

from bench.load import sockets
from bench.server import accepts, is_udp_bound
from bench.trial import Contender, Workload

TCP = {name: Contender(name, "tcp") for name in ("npserver", "haproxy", "socat")}
UDP = {name: Contender(name, "udp") for name in ("npserver", "nginx", "socat")}

WORKLOADS = (
    Workload(
        "tcp-messages", "1 KB there and back over kept connections", "messages per CPU second",
        lambda trial: trial.loaded(lambda seconds: sockets("messages", trial.port, seconds=seconds)),
        TCP, {"haproxy": 0.95}, accepts, "tcp",
    ),
    Workload(
        "tcp-bulk", "bytes as fast as they go, one connection", "bytes per CPU second",
        lambda trial: trial.loaded(lambda seconds: sockets("download", trial.port, seconds=seconds)),
        TCP, {"haproxy": 1.0, "socat": 1.0}, accepts, "source",
    ),
    Workload(
        "tcp-connect", "a new connection for each 1 KB there and back", "connections per CPU second",
        lambda trial: trial.loaded(lambda seconds: sockets("connects", trial.port, seconds=seconds)),
        TCP, {"haproxy": 0.7, "socat": 3.0}, accepts, "tcp",
    ),
    Workload(
        "tcp-idle", "5,000 idle relays", "bytes per relay", lambda trial: trial.held("tcp", 5000),
        {name: TCP[name] for name in ("npserver", "haproxy")}, {}, accepts, "tcp", is_less_better=True,
    ),
    Workload(
        "udp", "512-byte datagrams there and back, 32 clients", "datagrams per CPU second",
        lambda trial: trial.loaded(
            lambda seconds: sockets("messages", trial.port, kind="udp", size=512, seconds=seconds)
        ),
        UDP, {"nginx": 1.0, "socat": 2.0}, is_udp_bound, "udp",
    ),
)  # fmt: skip
