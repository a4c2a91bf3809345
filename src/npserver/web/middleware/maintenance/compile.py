"""Compiles `maintenance` into a gate."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from npserver.config.networks import compile_networks
from npserver.errors import clip
from npserver.web.checks import rule_key
from npserver.web.middleware.maintenance.config import Maintenance

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.web.config import HttpRule
    from npserver.web.middleware.maintenance.gate import MaintenanceGate


def compile_maintenance(compilation: Compilation, path: Path, rule: HttpRule) -> MaintenanceGate | None:
    """Make the gate of a rule; None if it is not to answer with 503. Errors stand in the report."""
    section = rule.maintenance
    if isinstance(section, bool):
        section = Maintenance(enabled=section)
    report, place = compilation.report, (*path, "maintenance")
    exempt = compile_networks(report, (*place, "except"), section.except_)
    page = None
    if section.page is not None:
        from npserver.web.middleware.error_pages.compile import load_page

        page = load_page(report, (*place, "page"), section.page)
    file = ""
    if section.file is not None:
        file = os.path.join(report.document.directory, section.file)  # it need not exist yet
        if not section.file or os.path.isdir(file):
            report.error(
                (*place, "file"), f"'file': {clip(section.file)} is a directory, which always exists; name a file in it"
            )
        elif not os.path.isdir(os.path.dirname(file)):
            report.warn((*place, "file"), f"'file': the directory of {clip(section.file)} does not exist")
    if not section.enabled:
        return None
    from npserver.web.middleware.maintenance.gate import MaintenanceGate

    retry_after_s = math.ceil(section.retry_after) if math.isfinite(section.retry_after) else 0
    return MaintenanceGate(compilation.context, file, exempt, page, retry_after_s, rule_key(path, "maintenance"))
