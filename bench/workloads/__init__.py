"""The workloads, a module for each part of npserver."""

from __future__ import annotations

from bench.trial import Workload
from bench.workloads import dns, forward, proxy, static, whole

GROUPS: dict[str, tuple[Workload, ...]] = {
    "Static files": static.WORKLOADS,
    "Reverse proxy": proxy.WORKLOADS,
    "Forwarding": forward.WORKLOADS,
    "DNS": dns.WORKLOADS,
    "The whole": whole.WORKLOADS,
}
ALL = {workload.name: workload for group in GROUPS.values() for workload in group}
