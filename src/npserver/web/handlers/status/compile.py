"""Compiles status rules into handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.observe.process_usage import USAGE
from npserver.tls.states import PUBLISHER
from npserver.web.handlers.status.handler import StatusHandler

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.web.handlers.status.config import StatusRule


def compile_status(compilation: Compilation, path: Path, rule: StatusRule) -> StatusHandler:
    """Make the handler of a status rule. Have published for it the states of certificates, and what processes use."""
    PUBLISHER.of(compilation)
    context = compilation.context

    def measure() -> None:
        USAGE.of(context)

    compilation.activations.append(measure)
    return StatusHandler(context)
