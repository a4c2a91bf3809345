"""Workloads of the name server."""

from __future__ import annotations

import json
from collections.abc import Mapping

from bench import material
from bench.load.dns import dnsperf
from bench.server import answers_dns, blocks_dns
from bench.trial import Contender, Figure, Trial, Workload

QUERIES = "queries per CPU second"


def _zone(count: int) -> Mapping[str, str]:
    return {"zone": str(material.zone(count)), "records": material.records(count)}


def _few() -> Mapping[str, str]:
    return _zone(material.DNS_NAMES)


def _many() -> Mapping[str, str]:
    return _zone(100_000)


PEERS = {name: Contender(name, "dns", _few) for name in ("npserver", "nsd", "knot")}
SIGNED = {name: Contender(name, "dns-signed", _few) for name in ("npserver", "knot")}
BIG = {name: Contender(name, "dns", _many) for name in ("npserver", "nsd", "knot")}
RESOLVERS = {name: Contender(name, "resolver") for name in ("npserver", "dnsmasq", "unbound")}


def _blocking() -> Mapping[str, str]:
    hosts = str(material.block_list(1_000_000))
    return {"block": json.dumps({"lists": [hosts], "allow": ["good.test"], "block": ["bad.test"]}), "records": "{}"}


def _resolving() -> Mapping[str, str]:
    return {
        "block": "null",
        "records": json.dumps({"example": {"TXT": "a zone, so that the names below do not exist"}}),
    }


def _start(trial: Trial) -> Figure:
    """Measure the time from exec to the first answer."""
    return Figure(trial.server.start_s * 1000, memory_bytes=trial.server.memory_bytes())


WORKLOADS = (
    Workload(
        "dns-hits", "A records of 1,000 names", QUERIES,
        lambda trial: trial.loaded(
            lambda seconds: dnsperf(trial.port, material.FOLDER / "queries-hits", seconds)
        ),
        PEERS, {"nsd": 0.85, "knot": 0.85}, answers_dns,
    ),
    Workload(
        "dns-varied", "the same in random case, with EDNS and a cookie", QUERIES,
        lambda trial: trial.loaded(
            lambda seconds: dnsperf(
                trial.port, material.FOLDER / "queries-cased", seconds, options=["-e", "-E", "10:0123456789abcdef"]
            )
        ),
        PEERS, {"nsd": 0.6}, answers_dns,
    ),
    Workload(
        "dns-missing", "names that do not exist, each a new one", QUERIES,
        lambda trial: trial.loaded(
            lambda seconds: dnsperf(trial.port, material.FOLDER / "queries-missing", seconds)
        ),
        PEERS, {"nsd": 0.6}, answers_dns,
    ),
    Workload(
        "dns-forward-hit", "A records of 1,000 names of a resolver, from the cache", QUERIES,
        lambda trial: trial.loaded(
            lambda seconds: dnsperf(trial.port, material.FOLDER / "queries-hits", seconds)
        ),
        RESOLVERS, {"dnsmasq": 0.6, "unbound": 0.5}, answers_dns, backend="dns",
    ),
    Workload(
        "dns-signed", "A records of 1,000 names of a signed zone, with signatures (DO)", QUERIES,
        lambda trial: trial.loaded(
            lambda seconds: dnsperf(trial.port, material.FOLDER / "queries-hits", seconds, options=["-D"])
        ),
        SIGNED, {"knot": 0.7}, answers_dns,
    ),
    Workload(
        "dns-signed-missing", "names of it that do not exist, each a new one, with proofs (DO)", QUERIES,
        lambda trial: trial.loaded(
            lambda seconds: dnsperf(trial.port, material.FOLDER / "queries-missing", seconds, options=["-D"])
        ),
        SIGNED, {}, answers_dns,
    ),
    Workload(
        "dns-many", "A records of 100,000 names", QUERIES,
        lambda trial: trial.loaded(
            lambda seconds: dnsperf(trial.port, material.FOLDER / "queries-many", seconds)
        ),
        BIG, {"nsd": 0.85}, answers_dns,
    ),
    Workload(
        "dns-load", "start with 100,000 names", "milliseconds to the first answer", _start, BIG, {}, answers_dns,
        is_less_better=True,
    ),
    Workload(
        "dns-block", "names that resolvers are asked for, with a block list of 1,000,000 names", QUERIES,
        lambda trial: trial.loaded(
            lambda seconds: dnsperf(trial.port, material.FOLDER / "queries-missing", seconds)
        ),
        {
            "npserver": Contender("npserver", "dns-forward", _blocking),
            "npserver without lists": Contender("npserver", "dns-forward", _resolving),
        },
        {"npserver without lists": 0.85}, blocks_dns, backend="dns",
    ),
)  # fmt: skip
