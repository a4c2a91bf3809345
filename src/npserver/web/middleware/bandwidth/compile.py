"""Compiles `bandwidth` into middleware."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.limits.byte_account import ByteAccount
from npserver.web.middleware.bandwidth.config import Bandwidth
from npserver.web.middleware.bandwidth.pace import PacedAnswers
from npserver.web.rule_names import lasting_name

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.web.config import HttpRule


def compile_bandwidth(compilation: Compilation, path: Path, rule: HttpRule) -> PacedAnswers | None:
    """Make the middleware of a rule's `bandwidth`; None if it limits nothing."""
    value, place, report = rule.bandwidth, (*path, "bandwidth"), compilation.report
    if value is None:
        return None
    section = value if isinstance(value, Bandwidth) else Bandwidth(per_answer=value)
    if not section.per_answer and not section.per_client:
        report.warn(place, "no limit: set 'per_answer' or 'per_client', or leave 'bandwidth' out")
        return None
    if section.after and not section.per_answer:
        report.warn((*place, "after"), "no effect without 'per_answer'")
    if section.ipv6_prefix != Bandwidth().ipv6_prefix and not section.per_client:
        report.warn((*place, "ipv6_prefix"), "no effect without 'per_client'")
    if 0 < section.per_client < section.per_answer:
        report.warn((*place, "per_answer"), f"never reached: 'per_client' is {section.per_client}")
    row, name = compilation.context.row, lasting_name(compilation, path, rule)
    account = ByteAccount(row.board.rates, section.per_client, name) if section.per_client else None
    return PacedAnswers(section, account, row, row.slot(f"bandwidth.{name}.waits"))
