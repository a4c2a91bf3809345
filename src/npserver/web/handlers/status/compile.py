"""Compiles status rules into handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.observe.process_usage import USAGE
from npserver.runtime.compilation import SUMMARY
from npserver.tls.states import PUBLISHER
from npserver.upstream.registry import TARGETS
from npserver.web.checks import rule_key
from npserver.web.handlers.status.handler import StatusHandler

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.web.handlers.status.config import StatusRule


def compile_status(compilation: Compilation, path: Path, rule: StatusRule) -> StatusHandler:
    """Make the handler of a status rule. Have published for it the states of certificates, and what processes use."""
    PUBLISHER.of(compilation)
    context = compilation.context
    handler = StatusHandler(context, rule, TARGETS.of(compilation), SUMMARY.of(compilation), rule_key(path, "viewers"))

    def measure() -> None:
        USAGE.of(context)
        handler.start()

    compilation.activations.append(measure)
    return handler
