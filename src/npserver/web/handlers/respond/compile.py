"""Compiles respond rules into handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.config.expand import template_of
from npserver.errors import clip
from npserver.web.checks import CONTROL
from npserver.web.escaping import escape_for
from npserver.web.handlers.respond.config import RespondRule
from npserver.web.handlers.respond.handler import RespondHandler
from npserver.web.maps.compile import MAPS
from npserver.web.variables import compile_template, is_constant

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.web.exchange import Handler


def compile_respond(compilation: Compilation, path: Path, rule: RespondRule) -> Handler | None:
    """Make the handler of a respond rule; None if it has errors, which stand in the report."""
    report = compilation.report
    if not rule.content_type or CONTROL.search(rule.content_type) or not rule.content_type.isascii():
        report.error((*path, "content_type"), f"'content_type': {clip(rule.content_type)} is not a valid media type")
        return None
    try:
        template = compile_template(rule.body, MAPS.of(compilation), escape=escape_for(rule.content_type))
    except ValueError as error:
        report.error((*path, "body"), f"'body': {error}")
        return None
    constant = template_of(rule.body).replace("$$", "$") if is_constant(rule.body) else None
    return RespondHandler(rule.status, rule.content_type, template, constant)
