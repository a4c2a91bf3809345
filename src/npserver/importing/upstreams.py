"""nginx's `upstream` blocks as `upstreams`. Used for HTTP and streams."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct, field

from npserver.importing.directives import Directive
from npserver.importing.draft import Draft
from npserver.importing.texts import NoCounterpart, seconds, text

_BALANCE = {"least_conn": "least-conn", "ip_hash": "ip-hash", "random": "two-choices", "least_time": "least-time"}
_SCHEMES = {"http": "http", "https": "https", "grpc": "h2c", "grpcs": "https", "tcp": "tcp", "udp": "udp", "ssl": "ssl"}


class Upstreams(Struct):
    """The `upstream` blocks of a config; those that are used are added to the draft, once for each scheme."""

    draft: Draft
    blocks: dict[str, Directive] = field(default_factory=dict)
    names: dict[tuple[str, str], str] = field(default_factory=dict)

    def uri(self, scheme: str, host: str) -> str:
        """Return the URI of a target: `upstream://name` if the host is an upstream's. Raises: NoCounterpart."""
        ours = _SCHEMES[scheme]
        if (block := self.blocks.get(host)) is not None:
            if (ours, host) not in self.names:
                name = host if host not in self.draft.upstreams else f"{host}-{ours}"
                self.draft.upstreams[name] = _upstream(block, ours, self.draft)
                self.names[ours, host] = name
            return f"upstream://{self.names[ours, host]}"
        return target_uri(ours, host)


def target_uri(scheme: str, host: str) -> str:
    """Return the URI of one address. Raises: NoCounterpart."""
    if host.startswith("unix:/"):
        return f"unix://{host[5:].rstrip(':')}"
    if not re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:\d{1,5})?", host):
        raise NoCounterpart(f"no address of a target: {host[:60]}")
    return f"{scheme}://{host}"


def _upstream(block: Directive, scheme: str, draft: Draft) -> dict[str, Any]:
    block.used = True
    found: dict[str, Any] = {"targets": []}
    timeouts: list[float] = []
    for one in block.block or ():
        try:
            if one.name == "server":
                found["targets"].append(_target(one, scheme, timeouts, draft))
            elif one.name in _BALANCE:
                found["balance"] = _BALANCE[one.name]
            elif one.name == "hash":
                found |= {"balance": "hash", "hash": text(one.args[0])}
            elif one.name == "keepalive":
                found["keepalive_pool_size"] = min(int(one.args[0]), 100_000)
            elif one.name == "keepalive_timeout":
                found["keepalive_idle_timeout"] = seconds(one.args[0])
            elif one.name not in ("zone", "keepalive_requests"):
                continue
        except (NoCounterpart, ValueError) as error:
            draft.comments.append(draft.lose(one, str(error)))
        one.used = True
    if not found["targets"]:
        raise NoCounterpart(f"{block.place}: no target in the upstream")
    if timeouts:
        found["retry_timeout_seconds"] = timeouts[0]
    else:
        found["retry_timeout_seconds"] = 10  # as by nginx
    draft.comments += draft.left_over(block.block or [])
    return found


def _target(one: Directive, scheme: str, timeouts: list[float], draft: Draft) -> str | dict[str, Any]:
    host = one.args[0]
    if scheme in ("http", "h2c", "https") and not host.startswith("unix:") and not re.search(r":\d+$", host):
        host += ":80"
    target: dict[str, Any] = {"uri": target_uri(scheme, host)}
    for word in one.args[1:]:
        key, _, value = word.partition("=")
        if key == "weight":
            target["weight"] = min(int(value), 1000)
        elif key == "max_conns":
            target["max_connections"] = int(value)
        elif key == "fail_timeout":
            timeouts.append(seconds(value))
        elif key == "max_fails":
            if value == "0":
                timeouts.insert(0, 0)
            elif value != "1":
                draft.comments.append(f"{one.place}: {word[:40]}: the first failed connection marks a target down here")
        elif key == "backup":
            target["backup"] = True
        elif key == "down":
            target["weight"] = 0
        elif key != "resolve":
            draft.comments.append(f"{one.place}: {word[:40]}: no counterpart")
    return target["uri"] if len(target) == 1 else target
