"""Compiles `max_requests` into middleware."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.network_sets.events import LEARNING
from npserver.web.checks import rule_key
from npserver.web.middleware.max_requests.config import MaxRequests
from npserver.web.middleware.max_requests.limit import RequestsInProgress
from npserver.web.rule_names import lasting_name

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.web.config import HttpRule


def compile_max_requests(compilation: Compilation, path: Path, rule: HttpRule) -> RequestsInProgress | None:
    """Make the limits of a rule's `max_requests`; None if there are none."""
    value, place, report = rule.max_requests, (*path, "max_requests"), compilation.report
    if value is None:
        return None
    section = MaxRequests(all=value) if isinstance(value, int) else value
    if not section.all and not section.per_client:
        report.warn(place, "no limit: all pass; set 'all' or 'per_client', or leave 'max_requests' out")
        return None
    if 0 < section.all < section.per_client:
        report.warn((*place, "per_client"), f"never reached: 'all' is {section.all}")
    if section.ipv6_prefix != MaxRequests().ipv6_prefix and not section.per_client:
        report.warn((*place, "ipv6_prefix"), "no effect without 'per_client'")
    key = rule_key(path, "max_requests")
    name, on_refusal = lasting_name(compilation, path, rule), LEARNING.of(compilation).hook("limited")
    return RequestsInProgress(compilation.context.row, section, name, key, on_refusal)
