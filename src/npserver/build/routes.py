"""Compiles one rule about HTTP requests into a route: its handler, its guards, what it changes in responses."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from npserver.build.networks import compile_networks
from npserver.build.static import compile_static
from npserver.config.schema import (
    AnyRule,
    BasicAuth,
    DnsRule,
    ForwardRule,
    HttpRule,
    ProxyRule,
    RedirectRule,
    RespondRule,
    StaticRule,
    StatusRule,
)
from npserver.errors import clip
from npserver.http.headers import compile_header_map
from npserver.http.media import MediaTypes
from npserver.http.variables import compile_template, is_constant, variable_names
from npserver.regex import regex
from npserver.serve.guards import NetworkGuard, PasswordGuard
from npserver.serve.redirect import RedirectHandler
from npserver.serve.respond import RespondHandler
from npserver.serve.route import Route

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from npserver.build.report import Path, Report
    from npserver.routing import Pattern
    from npserver.serve.context import Context
    from npserver.serve.exchange import Exchange, Handler
    from npserver.serve.upstream import Upstream

MAX_ERROR_PAGE_BYTES = 1 << 20  # they are kept in memory

_STATUS = regex(r"[45](?:\d\d|xx)")
_CONTROL = regex(r"[\x00-\x1f\x7f]")
_OWN_PATH = regex(r"/(?![/\\])|\$\{?(?:path|request_uri)\b")


def compile_route(
    report: Report, context: Context, index: int, rule: AnyRule, pattern: Pattern, upstreams: dict[str, Upstream]
) -> Route | None:
    """Make a rule's route; None if it has errors, which stand in `report`."""
    assert isinstance(rule, HttpRule)
    path: Path = ("dispatch", index) if index >= 0 else ("root",)
    prefix = pattern.path if pattern.is_prefix else ""
    handler = _handler(report, context, index, rule, prefix, upstreams)
    rewrite_fields = _rewriter(report, path, rule)
    guards = _guards(report, path, rule)
    error_pages = _error_pages(report, path, rule)
    if handler is None:
        return None
    limit = rule.max_body_size
    kind = str(type(rule).__struct_config__.tag)
    return Route(
        name=f"dispatch[{index}] {kind} {pattern}" if index >= 0 else f"default {kind} {pattern}",
        handler=handler,
        max_body_size=report.document.config.limits.max_body_size if limit is None else limit,
        prefix=prefix,
        guards=guards,
        rewrite_fields=rewrite_fields,
        error_pages=error_pages,
        aborts_on_close=isinstance(rule, ProxyRule) and rule.abort_on_close,
        # What guards or rewrites fields needs an exchange.
        ready=None if guards or rewrite_fields else getattr(handler, "ready", None),
        pass_on=None if guards or rewrite_fields else getattr(handler, "pass_on", None),
    )


def _handler(
    report: Report, context: Context, index: int, rule: AnyRule, prefix: str, upstreams: dict[str, Upstream]
) -> Handler | None:
    """What answers a rule's requests. Handlers that not everybody needs are imported where they are used."""
    path: Path = ("dispatch", index) if index >= 0 else ("root",)
    match rule:
        case StaticRule():
            return compile_static(report, context, path, rule, prefix)
        case RedirectRule():
            return _redirect(report, path, rule)
        case RespondRule():
            return _respond(report, path, rule)
        case ProxyRule():
            from npserver.build.proxy import compile_proxy

            return compile_proxy(report, context, index, rule, upstreams)
        case DnsRule():
            from npserver.build.dns import compile_doh

            return compile_doh(report, context, index, rule, upstreams)
        case StatusRule():
            from npserver.serve.status import StatusHandler

            return StatusHandler(context)
        case ForwardRule():
            raise AssertionError("a forward does not speak HTTP")


def _redirect(report: Report, path: Path, rule: RedirectRule) -> Handler | None:
    try:
        template = compile_template(rule.to)
    except ValueError as error:
        report.error((*path, "to"), f"'to': {error}")
        return None
    if not rule.to or _CONTROL.search(rule.to):
        report.error((*path, "to"), f"'to': {clip(rule.to)} is no URL")
        return None
    return RedirectHandler(
        template,
        rule.status,
        is_local=_OWN_PATH.match(rule.to) is not None,
        needs_host=not variable_names(rule.to).isdisjoint({"host", "authority"}),
    )


def _respond(report: Report, path: Path, rule: RespondRule) -> Handler | None:
    if not rule.content_type or _CONTROL.search(rule.content_type) or not rule.content_type.isascii():
        report.error((*path, "content_type"), f"'content_type': {clip(rule.content_type)} is no media type")
        return None
    try:
        template = compile_template(rule.body)
    except ValueError as error:
        report.error((*path, "body"), f"'body': {error}")
        return None
    constant = rule.body.replace("$$", "$") if is_constant(rule.body) else None
    return RespondHandler(rule.status, rule.content_type, template, constant)


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
        guards.append(_password_guard(report, path, rule.basic_auth, key))  # the last one, as it needs to be
    return tuple(guards)


def _password_guard(report: Report, path: Path, auth: BasicAuth, key: str) -> PasswordGuard:
    from npserver.passwords import parse_hash

    users = {}
    for name, text in auth.users.items():
        try:
            if ":" in name or _CONTROL.search(name):
                raise ValueError("a name must not hold colons or control characters")
            users[name] = parse_hash(text)
        except ValueError as error:
            report.error((*path, "basic_auth", "users", name), f"user {clip(name)}: {error}")
    if not auth.users:
        report.warn((*path, "basic_auth", "users"), "'users' is empty: nobody can come in")
    if _CONTROL.search(auth.realm):
        report.error((*path, "basic_auth", "realm"), "'realm' holds a control character")
    return PasswordGuard(users, auth.realm, f"{key}.basic_auth")


def _error_pages(report: Report, path: Path, rule: HttpRule) -> dict[int, tuple[bytes, bytes]]:
    """The global error pages and the rule's, by status: the rule's win, and `503` over `5xx`."""
    if ("error_pages",) not in report.shared:
        report.shared[("error_pages",)] = _load_pages(report, ("error_pages",), report.document.config.error_pages)
    pages: dict[int, tuple[bytes, bytes]] = dict(report.shared["error_pages",])
    pages.update(_load_pages(report, (*path, "error_pages"), rule.error_pages))
    return pages


def _load_pages(report: Report, path: Path, files: Mapping[str, str]) -> dict[int, tuple[bytes, bytes]]:
    pages: dict[int, tuple[bytes, bytes]] = {}
    for key in sorted(files, key=lambda key: not key.endswith("xx")):
        place = (*path, key)
        if not _STATUS.fullmatch(key):
            report.error(place, f'error page for {clip(key)}: write a status from 400 to 599, "4xx" or "5xx"')
            continue
        page = _load_page(report, place, files[key])
        if page is not None:
            first = int(key.replace("xx", "00"))
            pages.update(dict.fromkeys(range(first, first + 100) if key.endswith("xx") else (first,), page))
    return pages


def _load_page(report: Report, place: Path, name: str) -> tuple[bytes, bytes] | None:
    file = report.document.resolve(name)
    try:
        if os.path.getsize(file) > MAX_ERROR_PAGE_BYTES:
            report.error(place, f"error page {clip(name)} is larger than 1 MiB")
            return None
        with open(file, "rb") as source:
            body = source.read()
    except OSError as error:
        report.error(place, f"error page {clip(name)}: {error.strerror}")
        return None
    fields = f"Content-Type: {MediaTypes().of(file)}\r\nCache-Control: no-store\r\n".encode("latin-1")
    return fields, body
