"""Compiles `forward_auth` into the check that asks an authorization server."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from npserver.address import SCHEMES, parse_target
from npserver.config.expand import template_of
from npserver.errors import BadRequest, clip
from npserver.http.field_names import TOKEN
from npserver.http.fields import NOT_FORWARDED
from npserver.http.request_target import parse_target as parse_request_target
from npserver.network_sets.events import LEARNING
from npserver.regex import regex
from npserver.upstream.response_sink import ClientSettings
from npserver.web.checks import CONTROL, rule_key
from npserver.web.escaping import for_url
from npserver.web.http_upstream import http_upstream
from npserver.web.maps.compile import MAPS
from npserver.web.middleware.forward_auth.check import AuthCheck, AuthSettings, requested_url
from npserver.web.middleware.forward_auth.question import Terms
from npserver.web.signed_in import folded
from npserver.web.trusted_proxies import TRUSTED_PROXIES
from npserver.web.variables import compile_template, variable_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from npserver.config.report import Path, Report
    from npserver.networks import AddressSet
    from npserver.runtime.compilation import Compilation
    from npserver.upstream.group import Upstream
    from npserver.web.config import HttpRule
    from npserver.web.exchange import Exchange
    from npserver.web.middleware.forward_auth.config import ForwardAuth
    from npserver.web.variables import Template

_URL = regex(r"https?://[^/].*|/(?![/\\]).*|\$.*")
#: Fields that npserver writes itself, or that frame the request.
_RESERVED = frozenset(name.decode() for name in NOT_FORWARDED) | {
    "cookie", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "set-cookie",
}  # fmt: skip


def compile_forward_auth(compilation: Compilation, path: Path, rule: HttpRule) -> AuthCheck | None:
    """Make the check of a rule's `forward_auth`; None if it has errors, which stand in the report."""
    auth, report = rule.forward_auth, compilation.report
    if auth is None:
        return None
    place = (*path, "forward_auth")
    upstream = http_upstream(compilation, (*place, "to"), auth.to, auth.tls)
    copy = _compile_copy(report, place, auth)
    trusted = TRUSTED_PROXIES.of(compilation)
    template = _compile_sign_in(report, place, auth, trusted, MAPS.of(compilation))
    _check(report, place, auth)
    if upstream is None:
        return None
    key, row = rule_key(path, "forward_auth"), compilation.context.row
    terms = Terms(
        upstream,
        _client_settings(auth, upstream, f"{key}.timeout"),
        float(auth.timeout),
        int(auth.max_answer_size),
        key,
        row,
        {result: row.slot(f"forward_auth.{result}") for result in ("passed", "refused", "failed")},
    )
    line = f"GET {auth.path} HTTP/1.1\r\n".encode("latin-1", "replace")
    settings = AuthSettings(
        terms,
        line,
        copy,
        (auth.user or "").lower().encode(),
        template,
        auth.preserve_host,
        trusted,
        LEARNING.of(compilation).hook("login"),
    )
    return AuthCheck(settings)


def _check(report: Report, place: Path, auth: ForwardAuth) -> None:
    try:
        address = parse_target(auth.to, likely_scheme="http")
    except ValueError:
        pass  # reported already
    else:
        if SCHEMES[address.scheme].has_path and address.path not in ("", "/"):
            report.error(
                (*place, "to"), f"'to' is a server without a path, got {clip(auth.to)}: move the path to 'path'"
            )
    try:
        fault = "" if auth.path.startswith("/") else "a path starts with '/'"
        parse_request_target(auth.path.encode())
    except BadRequest as error:
        fault = fault or str(error)
    if fault or " " in auth.path or CONTROL.search(auth.path):
        report.error((*place, "path"), f"'path': {fault or 'a space or control character'}, got {clip(auth.path)}")
    if names := sorted(variable_names(auth.path) - {""}):
        report.warn((*place, "path"), f"'path' has no variables: ${names[0]} is sent as it stands; see 'sign_in'")
    if auth.user is not None and not TOKEN.fullmatch(auth.user):
        report.error((*place, "user"), f"{clip(auth.user)} is not a valid header name")


def _compile_copy(report: Report, place: Path, auth: ForwardAuth) -> tuple[tuple[bytes, bytes], ...]:
    if isinstance(auth.copy, dict):
        pairs = [((*place, "copy", name), name, source) for name, source in auth.copy.items()]
    elif isinstance(auth.copy, str):
        pairs = [((*place, "copy"), auth.copy, auth.copy)]
    else:
        pairs = [((*place, "copy", index), name, name) for index, name in enumerate(auth.copy)]
    found: dict[str, tuple[bytes, bytes]] = {}
    for where, name, source in pairs:
        if not TOKEN.fullmatch(name) or not TOKEN.fullmatch(source):
            wrong = source if TOKEN.fullmatch(name) else name
            report.error(where, f"{clip(wrong)} is not a valid header name")
        elif folded(name) in _RESERVED:
            report.error(where, f"{clip(name)} cannot be copied: npserver writes it itself, or it is the client's")
        elif folded(name) in found:
            report.error(where, f"{clip(name)} is copied twice: remove one")
        else:
            found[folded(name)] = (name.encode(), source.lower().encode())
    return tuple(found.values())


def _compile_sign_in(
    report: Report, place: Path, auth: ForwardAuth, trusted: AddressSet | None, maps: Mapping[str, Template]
) -> Template | None:
    text = auth.sign_in
    if text is None:
        return None
    where = (*place, "sign_in")

    def encoded_url(exchange: Exchange) -> str:
        return quote(requested_url(exchange, trusted), safe="")

    try:
        template = compile_template(text, {**maps, "url": encoded_url}, for_url)
    except ValueError as error:
        report.error(where, f"'sign_in': {error}")
        return None
    if not _URL.fullmatch(text) or CONTROL.search(text) or " " in text:
        report.error(where, f"'sign_in': expected an http or https URL, or a path, got {clip(text)}")
    query = template_of(text).partition("?")[2]
    if raw := sorted(variable_names(query) & {"path", "query", "request_uri"}):
        report.warn(where, f"'sign_in': ${raw[0]} is not percent-encoded in a query; write $url for the requested URL")
    return template


def _client_settings(auth: ForwardAuth, upstream: Upstream, key: str) -> ClientSettings:
    limit_s = 2 * float(auth.timeout)  # `Question.deadline` comes first
    return ClientSettings(
        send_timeout_s=limit_s,
        response_timeout_s=limit_s,
        read_timeout_s=limit_s,
        pool_size=upstream.pool_size,
        pool_idle_s=float(upstream.section.keepalive_idle_timeout),
        send_key=key,
        response_key=key,
        read_key=key,
    )
