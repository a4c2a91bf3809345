"""Compiles redirect rules into handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.errors import clip
from npserver.regex import regex
from npserver.web.checks import CONTROL, rule_key
from npserver.web.handlers.redirect.config import RedirectRule
from npserver.web.handlers.redirect.handler import RedirectHandler
from npserver.web.variables import compile_template, variable_names

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.web.exchange import Handler

_OWN_PATH = regex(r"/(?![/\\])|\$\{?(?:path|request_uri)\b")


def compile_redirect(compilation: Compilation, path: Path, rule: RedirectRule) -> Handler | None:
    """Make the handler of a redirect rule; None if it has errors, which stand in the report."""
    report = compilation.report
    try:
        template = compile_template(rule.to)
    except ValueError as error:
        report.error((*path, "to"), f"'to': {error}")
        return None
    if not rule.to or CONTROL.search(rule.to):
        report.error((*path, "to"), f"'to': {clip(rule.to)} is not a URL")
        return None
    return RedirectHandler(
        template,
        rule.status,
        is_local=_OWN_PATH.match(rule.to) is not None,
        needs_host=not variable_names(rule.to).isdisjoint({"host", "authority"}),
        key=rule_key(path, "to"),
    )
