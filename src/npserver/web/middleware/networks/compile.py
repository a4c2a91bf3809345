"""Compiles `allow` and `deny` into a gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.config.networks import compile_networks, warn_of_banned
from npserver.web.checks import rule_key
from npserver.web.middleware.networks.gate import NetworkGate

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.web.config import HttpRule


def compile_network_gate(compilation: Compilation, path: Path, rule: HttpRule) -> NetworkGate | None:
    """Make the gate of a rule; None if it names no networks. Errors stand in the report."""
    allow = compile_networks(compilation.report, (*path, "allow"), rule.allow)
    warn_of_banned(compilation.report, (*path, "allow"), rule.allow)
    deny = compile_networks(compilation.report, (*path, "deny"), rule.deny)
    if allow is None and deny is None:
        return None
    return NetworkGate(allow, deny, rule_key(path))
