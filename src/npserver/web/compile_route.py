"""Compiles one rule about HTTP requests into a route: its handler and its middleware."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from npserver.web.checks import rule_key
from npserver.web.exchange import make_route
from npserver.web.handlers.kinds import load
from npserver.web.middleware.order import compile_middleware

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.web.config import HttpRule, Rule
    from npserver.web.exchange import Route
    from npserver.web.handlers.kinds import HandlerKind
    from npserver.web.routing import Pattern


def compile_route(
    compilation: Compilation, index: int, rule: HttpRule, pattern: Pattern, kind_of: Callable[[Rule], HandlerKind[Any]]
) -> Route | None:
    """Make a rule's route; None if it has errors, which stand in the report."""
    path: Path = ("dispatch", index) if index >= 0 else ("root",)
    kind = kind_of(rule)
    handler = load(kind.handler)(compilation, path, rule)
    middleware = compile_middleware(compilation, path, rule)
    if handler is None:
        return None
    limit = rule.max_body_size
    return make_route(
        f"dispatch[{index}] {kind.name} {pattern}" if index >= 0 else f"default {kind.name} {pattern}",
        handler,
        compilation.config.limits.max_body_size if limit is None else limit,
        middleware,
        key=rule_key(path),
        max_body_key="limits.max_body_size" if limit is None else rule_key(path, "max_body_size"),
        prefix=pattern.path if pattern.is_prefix else "",
        aborts_on_close=getattr(rule, "abort_on_close", False),
    )
