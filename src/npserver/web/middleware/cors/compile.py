"""Compiles `cors` into middleware."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from npserver.config.report import placed
from npserver.errors import clip
from npserver.http.field_names import TOKEN
from npserver.regex import regex
from npserver.web.checks import rule_key
from npserver.web.middleware.cors.policy import ALL, CorsPolicy, Origins

if TYPE_CHECKING:
    from npserver.config.report import Path, Report
    from npserver.runtime.compilation import Compilation
    from npserver.web.config import HttpRule

_ORIGIN = regex(
    r"([a-z][a-z0-9+.-]*)://(?:\*\.)?[a-z0-9_.-]+(?::([0-9]{1,5}))?|[a-z][a-z0-9+.-]*://\[[0-9a-f:]+\](?::([0-9]{1,5}))?"
)
_DEFAULT_PORTS = {("http", "80"), ("https", "443")}


def compile_cors(compilation: Compilation, path: Path, rule: HttpRule) -> CorsPolicy | None:
    """Make the policy of a rule. Errors stand in the report."""
    section, report, place = rule.cors, compilation.report, (*path, "cors")
    if section is None:
        return None
    origins = _list(section.origins)
    if not origins:
        report.error(
            (*place, "origins"), "'origins' is empty; name the origins of pages, such as \"https://app.example\""
        )
    for where, origin in placed((*place, "origins"), section.origins):
        if fault := _fault(origin):
            report.error(where, fault)
    methods, headers, expose = [
        _names(report, (*place, key), key, getattr(section, key)) for key in ("methods", "headers", "expose")
    ]
    if section.credentials and ALL in origins:
        report.error(
            (*place, "credentials"),
            "'credentials': not with the origin \"*\", as any page on the web could act as the user; name the origins",
        )
    if section.credentials and ALL in expose:
        report.error(
            (*place, "expose"), "'expose': browsers know no \"*\" together with 'credentials'; name the fields"
        )
    if len(origins) > 1 and ALL in origins:
        report.warn((*place, "origins"), "'origins': \"*\" allows all; the others say nothing")
    _check_match(report, (*path, "match", "method"), rule)
    known = [origin.lower() for origin in origins if not _fault(origin)]
    return CorsPolicy(
        compilation.context, Origins(known), methods, headers, expose,
        math.ceil(section.max_age) if math.isfinite(section.max_age) else 0, rule_key(path, "cors", "origins"),
        credentials=section.credentials,
    )  # fmt: skip


def _check_match(report: Report, place: Path, rule: HttpRule) -> None:
    methods = _list(rule.match.method)
    if methods and "OPTIONS" not in methods:
        report.warn(place, "'cors': preflights do not come to this rule, as 'method' does not name OPTIONS; add it")


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _fault(origin: str) -> str:
    """Return what is wrong with an origin; empty if nothing is."""
    if origin == ALL:
        return ""
    if origin == "null":
        return "'origins': null is the origin of sandboxed pages and files of anybody; allow no page by it"
    match = _ORIGIN.fullmatch(origin.lower())
    if match is None:
        bare = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#@*]+", origin)
        hint = f", such as {bare[0]!r}" if bare and "*" not in origin else ", such as 'https://app.example'"
        if "*" in origin:
            hint = ", with a star only before a domain, such as 'https://*.app.example'"
        return f"'origins': {clip(origin)} is not an origin; write scheme, host and port alone{hint}"
    if (port := match[2] or match[3]) and not 0 < int(port) < 65536:
        return f"'origins': {clip(origin)}: port {port} is out of range"
    if (match[1], match[2]) in _DEFAULT_PORTS:
        return f"'origins': {clip(origin)}: browsers leave out the default port; write {origin.rpartition(':')[0]!r}"
    return ""


def _names(report: Report, place: Path, key: str, value: str | list[str]) -> list[str]:
    """Return the methods or header names of a key that are some. The others stand in the report."""
    found = []
    for where, name in placed(place, value):
        if not TOKEN.fullmatch(name):
            what = "method" if key == "methods" else "header name"
            report.error(where, f"'{key}': {clip(name)} is not a valid {what}; write several as a list")
            continue
        found.append(name)
        if key == "methods" and name != name.upper():
            report.error(where, f"'methods': {clip(name)}: methods are in upper case; write {name.upper()!r}")
    return found
