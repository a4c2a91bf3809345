"""What `npserver status` is told: the state of the server as plain values, made in the process that has the socket.

It costs nothing while nobody asks. CPU, memory and connections are the kernel's to tell: the caller asks it.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from msgspec import convert, to_builtins

from npserver import __version__
from npserver.listen.drains import drained_listeners
from npserver.network_sets.states import published_bans
from npserver.observe import metrics
from npserver.tls.states import TOPIC as CERTIFICATES
from npserver.tls.states import PublishedStates
from npserver.upstream.health_state import Health
from npserver.upstream.registry import REASONS, drained_targets
from npserver.web.handlers.status.certificates import certificates_as_json

if TYPE_CHECKING:
    from npserver.process.control.host import Host
    from npserver.runtime.scoreboard import Scoreboard
    from npserver.upstream.registry import NamedTarget


def status_of(host: Host, last_reload: dict[str, Any] | None) -> dict[str, Any]:
    """Return the state. Ages are in seconds; `last_reload`: None if there was none."""
    latest = host.latest()
    states = latest.get(CERTIFICATES)
    bans = published_bans(latest)
    reasons = latest.get(REASONS) or {}
    drained, drained_now = drained_targets(latest), drained_listeners(latest)
    return {
        "version": __version__,
        "pid": os.getpid(),
        "config": os.path.abspath(host.config_file) if host.config_file else "",
        "uptime_seconds": round(time.monotonic() - host.started_at, 1),
        "is_stopping": host.is_stopping(),
        "processes": to_builtins(host.processes()),
        "listeners": [
            {
                "name": one.name,
                "uri": str(one.ports or one.address),
                "port": port,
                "ports": one.ports.count if one.ports else 1,
                "is_stream": one.address.is_stream,
                "is_drained": one.key in drained_now,
            }
            for one, port in host.listeners()
            if one.is_shown
        ],
        "targets": [
            _target(host.board, reasons, one) | {"is_draining": one.key in drained} for one in host.runtime().targets
        ],
        "certificates": certificates_as_json(convert(states, PublishedStates)) if states is not None else [],
        "bans": {name: len(found) for name, found in bans.items()},
        "last_reload": last_reload,
        "metrics": _metrics(host.board),
    }


def _target(board: Scoreboard, reasons: dict[str, str], one: NamedTarget) -> dict[str, Any]:
    slots, name = board.directory.names, f"{one.upstream}.{one.uri}"

    def total(counter: str) -> int:
        slot = slots.get(counter)
        return 0 if slot is None else board.total(slot)

    health = Health(total(f"health.{name}"))
    since = total(f"health.{name}.since") / 1000
    return {
        "upstream": one.upstream,
        "uri": one.uri,
        "health": health.name.lower(),
        "health_age_seconds": round(time.monotonic() - since, 1) if since else None,
        "is_ejected": bool(total(f"health.{name}.ejected")),
        "why": reasons.get(one.key, "") if health < 0 else "",
        "is_backup": one.is_backup,
        "weight": one.weight,
        "active": total(f"gauge.upstream.{name}.active"),
        "requests": total(f"upstream.{name}.requests"),
        "failures": total(f"upstream.{name}.failures"),
        "errors": total(f"upstream.{name}.errors"),
        "ejections": total(f"upstream.{name}.ejections"),
    }


def _metrics(board: Scoreboard) -> dict[str, Any]:
    """Return the metrics without those of targets, as the JSON of status pages has them; zeros are left out."""
    families: dict[str, Any] = {}
    for sample in metrics.samples(board):
        name = sample.family.name
        if not sample.value or name.startswith(("npserver_upstream_requests", "npserver_upstream_health")):
            continue
        if sample.labels:
            families.setdefault(name, []).append({**dict(sample.labels), "value": sample.value})
        else:
            families[name] = sample.value
    return families
