"""Compiles one rule about HTTP requests into a route: its handler and its middleware."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from npserver.config.expand import template_of
from npserver.errors import clip
from npserver.web.checks import rule_key
from npserver.web.exchange import make_route
from npserver.web.handlers.kinds import load
from npserver.web.logs.needs import NEEDS
from npserver.web.middleware.order import NAMED, compile_middleware
from npserver.web.request_times import request_times
from npserver.web.scan_watch import scan_watch
from npserver.web.variables import variable_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.config.report import Path, Report
    from npserver.runtime.compilation import Compilation
    from npserver.web.config import HttpRule, Rule
    from npserver.web.exchange import Route
    from npserver.web.handlers.kinds import HandlerKind
    from npserver.web.routing import Pattern

_WITH_VARIABLES = ("headers", "response_headers", "to", "body", "split_by", "env")


def compile_route(
    compilation: Compilation,
    index: int,
    rule: HttpRule,
    pattern: Pattern,
    kind_of: Callable[[Rule], HandlerKind[Any]],
    hosts: list[str],
) -> Route | None:
    """Make a rule's route; None if it has errors, which stand in the report. `hosts`: the rule's, normalised."""
    path: Path = ("dispatch", index) if index >= 0 else ("root",)
    kind = kind_of(rule)
    handler = load(kind.handler)(compilation, path, rule)
    middleware = (*scan_watch(compilation), *compile_middleware(compilation, path, rule))
    if rule.log and NEEDS.of(compilation).responses:
        from npserver.web.logs.responses import KeptFields

        middleware = (KeptFields(), *middleware)
    if rule.jwt is None:
        _warn_of_claims(compilation.report, path, rule)
    if handler is None:
        return None
    limit = rule.max_body_size
    named = f" {clip(rule.name)}" if rule.name else ""
    route = make_route(
        f"dispatch[{index}]{named} {kind.name} {pattern}" if index >= 0 else f"default {kind.name} {pattern}",
        handler,
        compilation.config.limits.max_body_size if limit is None else limit,
        middleware,
        key=rule_key(path),
        rule_name=rule.name or "",
        is_logged=rule.log,
        max_body_key="limits.max_body_size" if limit is None else rule_key(path, "max_body_size"),
        prefix=pattern.path if pattern.is_prefix else "",
        aborts_on_close=getattr(rule, "abort_on_close", False),
        times=request_times(compilation, rule.name or rule_key(path), hosts),
    )
    if rule.log and NEEDS.of(compilation).exchange:
        route = replace(route, prepared=None, direct=None)
    if compilation.config.tracing is None or not rule.trace:
        return route
    from npserver.web.traces import TRACER

    tracer = TRACER.of(compilation)
    return route if tracer is None else tracer.traced(route, NAMED.of(compilation)[path])


def _warn_of_claims(report: Report, path: Path, rule: HttpRule) -> None:
    """Warn of variables of a token in a rule that asks for none."""
    for key in _WITH_VARIABLES:
        value = getattr(rule, key, None)
        for place, one in value.items() if isinstance(value, dict) else [("", value)]:
            text = " ".join(map(template_of, one)) if isinstance(one, list) else one
            if isinstance(text, str) and "jwt." in text:
                for name in sorted(variable_names(text)):
                    if name.startswith("jwt."):
                        where = (*path, key, place) if place else (*path, key)
                        report.warn(where, f"the rule has no 'jwt': ${name} is always empty")
