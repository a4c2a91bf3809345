"""Compiles one rule about HTTP requests into a route: its handler, its guards, what it changes in responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from npserver.config.networks import compile_networks
from npserver.web.config import HttpRule
from npserver.web.error_page_files import load_pages
from npserver.web.handlers.kinds import load
from npserver.web.handlers.redirect.config import RedirectRule
from npserver.web.handlers.respond.config import RespondRule
from npserver.web.handlers.static.config import StaticRule
from npserver.web.middleware.basic_auth.compile import compile_basic_auth
from npserver.web.middleware.headers import compile_header_map
from npserver.web.middleware.networks import NetworkGuard
from npserver.web.route import Route

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.config.report import Path, Report
    from npserver.runtime.compilation import Compilation
    from npserver.web.config import Rule
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.kinds import HandlerKind
    from npserver.web.routing import Pattern


def compile_route(
    compilation: Compilation, index: int, rule: HttpRule, pattern: Pattern, kind_of: Callable[[Rule], HandlerKind[Any]]
) -> Route | None:
    """Make a rule's route; None if it has errors, which stand in the report."""
    report = compilation.report
    path: Path = ("dispatch", index) if index >= 0 else ("root",)
    prefix = pattern.path if pattern.is_prefix else ""
    kind = kind_of(rule)
    handler = load(kind.handler)(compilation, path, rule)
    rewrite_fields = _rewriter(report, path, rule)
    guards = _guards(report, path, rule)
    error_pages = _error_pages(report, path, rule)
    if handler is None:
        return None
    limit = rule.max_body_size
    return Route(
        name=f"dispatch[{index}] {kind.name} {pattern}" if index >= 0 else f"default {kind.name} {pattern}",
        handler=handler,
        max_body_size=report.document.config.limits.max_body_size if limit is None else limit,
        prefix=prefix,
        guards=guards,
        rewrite_fields=rewrite_fields,
        error_pages=error_pages,
        aborts_on_close=getattr(rule, "abort_on_close", False),
        # What guards or rewrites fields needs an exchange.
        ready=None if guards or rewrite_fields else getattr(handler, "ready", None),
        pass_on=None if guards or rewrite_fields else getattr(handler, "pass_on", None),
    )


def _rewriter(report: Report, path: Path, rule: HttpRule) -> Callable[[Exchange, bytes], bytes] | None:
    """`response_headers`, and `headers` where that is another name for them."""
    changes = dict(rule.response_headers)
    if isinstance(rule, (StaticRule, RedirectRule, RespondRule)):
        changes.update(rule.headers)
    key = "response_headers" if rule.response_headers else "headers"
    try:
        return compile_header_map(changes)
    except ValueError as error:
        report.error((*path, key), f"'{key}': {error}")
        return None


def _guards(report: Report, path: Path, rule: HttpRule) -> tuple[Callable[[Exchange], bool], ...]:
    guards: list[Callable[[Exchange], bool]] = []
    allow = compile_networks(report, (*path, "allow"), rule.allow)
    deny = compile_networks(report, (*path, "deny"), rule.deny)
    key = f"{path[0]}[{path[1]}]" if len(path) > 1 else str(path[0])
    if allow is not None or deny is not None:
        guards.append(NetworkGuard(allow, deny, key))
    if rule.basic_auth is not None:
        guards.append(compile_basic_auth(report, path, rule.basic_auth, key))  # the last one, as it needs to be
    return tuple(guards)


def _error_pages(report: Report, path: Path, rule: HttpRule) -> dict[int, tuple[bytes, bytes]]:
    """The global error pages and the rule's, by status: the rule's win, and `503` over `5xx`."""
    if ("error_pages",) not in report.shared:
        report.shared[("error_pages",)] = load_pages(report, ("error_pages",), report.document.config.error_pages)
    pages: dict[int, tuple[bytes, bytes]] = dict(report.shared["error_pages",])
    pages.update(load_pages(report, (*path, "error_pages"), rule.error_pages))
    return pages
