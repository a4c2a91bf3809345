"""The workloads, a module for each part of npserver."""

from __future__ import annotations

from bench.trial import Workload
from bench.workloads import dns, edge, forward, http2, proxy, static, whole

GROUPS: dict[str, tuple[Workload, ...]] = {
    "Static files": static.WORKLOADS,
    "Reverse proxy": proxy.WORKLOADS,
    "HTTP/2 and HTTP/3": http2.WORKLOADS,
    "The edge": edge.WORKLOADS,
    "Forwarding": forward.WORKLOADS,
    "DNS": dns.WORKLOADS,
    "The whole": whole.WORKLOADS,
}
ALL = {workload.name: workload for group in GROUPS.values() for workload in group}
