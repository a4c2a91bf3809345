"""Compiles `security_headers` into middleware."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.address import HTTP, SCHEMES, schemes_serving
from npserver.errors import clip
from npserver.regex import regex
from npserver.web.middleware.security_headers.config import STRICT, SecurityHeaders
from npserver.web.middleware.security_headers.fields import AddedFields, SecureFields

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.web.config import HttpRule

_HTTP = schemes_serving(HTTP)
_VALUE = regex(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


def compile_security_headers(compilation: Compilation, path: Path, rule: HttpRule) -> AddedFields | None:
    """Make the fields of a rule; None if there are none. Errors stand in the report."""
    section = rule.security_headers
    if section is None or section is False:
        return None
    if section is True:
        section = SecurityHeaders()
    elif section == "strict":
        section = STRICT
    assert isinstance(section, SecurityHeaders)
    report, place = compilation.report, (*path, "security_headers")
    for key in ("referrer", "permissions", "csp"):
        value = getattr(section, key)
        if value is not None and not _VALUE.fullmatch(value):
            report.error((*place, key), f"'{key}': {clip(value)} is not a valid header value; null sends none")
    if section.hsts_subdomains and not section.hsts:
        report.warn((*place, "hsts_subdomains"), "'hsts_subdomains' says nothing, as 'hsts' is 0")
    fields = _fields(section)
    are_tls = _are_tls(compilation, rule)
    hsts = [_hsts(section)] if section.hsts else []
    if not hsts or are_tls == {False}:
        return AddedFields(fields) if fields else None
    if are_tls == {True}:
        return AddedFields([*fields, *hsts])
    return SecureFields(fields, hsts)


def _fields(section: SecurityHeaders) -> list[tuple[bytes, bytes]]:
    values = (
        ("X-Content-Type-Options", "nosniff" if section.nosniff else None),
        ("X-Frame-Options", section.frame.upper() if section.frame else None),
        ("Referrer-Policy", section.referrer),
        ("Permissions-Policy", section.permissions),
        ("Content-Security-Policy", section.csp),
        ("Cross-Origin-Opener-Policy", section.opener),
    )
    return [_line(name, value) for name, value in values if value is not None]


def _hsts(section: SecurityHeaders) -> tuple[bytes, bytes]:
    more = "; includeSubDomains" if section.hsts_subdomains else ""
    return _line("Strict-Transport-Security", f"max-age={int(section.hsts)}{more}")


def _line(name: str, value: str) -> tuple[bytes, bytes]:
    return name.lower().encode("ascii"), f"{name}: {value}\r\n".encode("ascii", "replace")


def _are_tls(compilation: Compilation, rule: HttpRule) -> set[bool]:
    """Return whether the listeners that a rule may have speak TLS; both if some do, or the config does not tell."""
    asked = [rule.listener] if isinstance(rule.listener, str) else rule.listener
    found = set()
    for entry in compilation.config.listen:
        uri, name = (entry, None) if isinstance(entry, str) else (entry.uri, entry.name)
        scheme = uri.partition(":")[0].lower()
        if scheme in _HTTP and (asked is None or uri in asked or name in asked):
            found.add(SCHEMES[scheme].is_tls)
    return found or {False, True}
