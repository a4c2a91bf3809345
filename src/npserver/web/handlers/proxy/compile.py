"""Compiles proxy rules into handlers."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from npserver.address import HTTP, SCHEMES, parse_target, schemes_reaching
from npserver.errors import BadRequest, clip
from npserver.http.request_target import canonical_path
from npserver.regex import regex
from npserver.upstream.compile import find_upstream, single_target, with_tls
from npserver.upstream.response_sink import ClientSettings
from npserver.web.checks import rule_key
from npserver.web.handlers.proxy.config import RequestBuffering, ResponseBuffering
from npserver.web.handlers.proxy.handler import ProxyHandler
from npserver.web.handlers.proxy.proxy import Proxy, ProxySettings
from npserver.web.handlers.proxy.spool import SpoolSettings
from npserver.web.middleware.headers.changes import compile_changes
from npserver.web.routing import Pattern, parse_pattern
from npserver.web.trusted_proxies import TRUSTED_PROXIES

if TYPE_CHECKING:
    from npserver.config.report import Path, Report
    from npserver.runtime.compilation import Compilation
    from npserver.upstream.group import Upstream
    from npserver.web.handlers.proxy.config import ProxyRule

_PLACE = regex(r"\$(\d)|\\(?![1-9])")
_HTTP_TARGETS = schemes_reaching(HTTP)


def compile_proxy(compilation: Compilation, path: Path, rule: ProxyRule) -> ProxyHandler | None:
    """Make the handler of a proxy rule; None if it has errors, which stand in the report."""
    report = compilation.report
    found = _find_upstream(compilation, path, rule)
    base = _compile_base(report, path, rule)
    strip = _compile_strip(report, path, rule)
    rewrites = _compile_rewrites(report, path, rule)
    try:
        changes = compile_changes(rule.headers, for_application=True)
    except ValueError as error:
        report.error((*path, "headers"), str(error))
        return None
    if found is None:
        return None
    upstream = found.with_keys(
        balance=rule.balance,
        retries=rule.retries,
        keepalive=rule.keepalive,
        keepalive_pool_size=rule.keepalive_pool_size,
        keepalive_idle_timeout=rule.keepalive_idle_timeout,
        proxy_timeout_seconds=rule.timeouts.connect,
    )
    is_named = upstream.name in compilation.config.upstreams
    proxy = Proxy(
        upstream,
        ProxySettings(
            rule,
            client=_client_settings(path, rule, upstream),
            key=rule_key(path),
            upstream_key=f"upstreams.{upstream.name}" if is_named else rule_key(path, "proxy_pass"),
            connect_key=rule_key(path, "timeouts", "connect")
            if rule.timeouts.connect is not None or not is_named
            else f"upstreams.{upstream.name}.proxy_timeout_seconds",
            base=base,
            strip=strip,
            rewrites=rewrites,
            trusted=TRUSTED_PROXIES.of(compilation),
            changes=changes,
            request_spool=_compile_spool(compilation, (*path, "request_buffering"), rule.request_buffering),
            response_spool=_compile_spool(compilation, (*path, "response_buffering"), rule.response_buffering),
        ),
    )
    return ProxyHandler(proxy, redirects_to_slash=_redirects_to_slash(rule, strip))


def _find_upstream(compilation: Compilation, path: Path, rule: ProxyRule) -> Upstream | None:
    report = compilation.report
    place = (*path, "proxy_pass")
    try:
        address = parse_target(rule.proxy_pass, likely_scheme="http")
    except ValueError as error:
        report.error(place, str(error))
        return None
    if address.scheme != "upstream":
        if address.scheme not in _HTTP_TARGETS:
            report.error(place, f"expected an http, https or unix target, or upstream://name, got {clip(str(address))}")
            return None
        return single_target(compilation, place, address, tls=rule.tls)
    upstream = find_upstream(compilation, place, address)
    if upstream is None:
        return None
    others = sorted({target.address.scheme for target in upstream.targets} - _HTTP_TARGETS)
    if others:
        report.error(place, f"the targets of upstream {upstream.name!r} speak {', '.join(others)}, not HTTP")
        return None
    if rule.tls is not None:
        return with_tls(compilation, (*path, "tls"), upstream, rule.tls)
    return upstream


def _compile_base(report: Report, path: Path, rule: ProxyRule) -> str:
    """Return the path of `proxy_pass`, without a slash at its end."""
    try:
        address = parse_target(rule.proxy_pass, likely_scheme="http")
    except ValueError:
        return ""  # reported already
    if not SCHEMES[address.scheme].has_path:
        return ""
    return _canonical(report, (*path, "proxy_pass"), address.path or "/").rstrip("/")


def _compile_strip(report: Report, path: Path, rule: ProxyRule) -> str:
    if not isinstance(rule.strip_prefix, str):
        return _path(rule).path.rstrip("/") if rule.strip_prefix else ""
    place = (*path, "strip_prefix")
    try:
        strip = parse_pattern(rule.strip_prefix).path.rstrip("/")
    except ValueError as error:
        report.error(place, str(error))
        return ""
    pattern = _path(rule)
    is_below = pattern.is_prefix and strip.startswith(f"{pattern.path}/")
    if not is_below and not f"{pattern.path}/".startswith(f"{strip}/"):
        report.warn(place, f"'strip_prefix': no path of {pattern} begins with {clip(strip)}")
    return strip


def _path(rule: ProxyRule) -> Pattern:
    try:
        return parse_pattern(rule.path)
    except ValueError:
        return Pattern("", True)  # reported where the route is compiled


def _redirects_to_slash(rule: ProxyRule, strip: str) -> bool:
    """Whether the application's root is what clients reach by the path of the rule without the slash at its end."""
    pattern = _path(rule)
    return rule.redirect_to_slash and pattern.is_prefix and pattern.path == strip != ""


def _canonical(report: Report, path: Path, text: str) -> str:
    if not text.startswith("/"):
        report.error(path, f"a path starts with '/', got {clip(text)}")
        return "/"
    try:
        return canonical_path(text.encode())
    except BadRequest as error:
        report.error(path, f"{error}: {clip(text)}")
        return "/"


def _compile_rewrites(report: Report, path: Path, rule: ProxyRule) -> tuple[tuple[re.Pattern[str], str], ...]:
    rewrites = []
    for pattern, replacement in rule.rewrite.items():
        place = (*path, "rewrite", pattern)
        template = _PLACE.sub(lambda match: rf"\g<{match[1]}>" if match[1] else r"\\", replacement)
        try:
            compiled = re.compile(pattern)
            highest = max([int(number) for number in re.findall(r"\\g<(\d)>", template)], default=0)
            if highest > compiled.groups:
                report.error(place, f"${highest} does not refer to a group of {clip(pattern)}")
                continue
        except re.error as error:
            report.error(place, f"bad regular expression {clip(pattern)}: {error}")
            continue
        rewrites.append((compiled, template))
    return tuple(rewrites)


def _compile_spool(
    compilation: Compilation, path: Path, buffering: bool | RequestBuffering | ResponseBuffering
) -> SpoolSettings | None:
    if buffering is False:
        return None
    if buffering is True:
        buffering = ResponseBuffering() if path[-1] == "response_buffering" else RequestBuffering()
    directory = buffering.directory
    if directory is not None:
        directory = compilation.document.resolve(directory)
        if not os.path.isdir(directory):
            compilation.report.error(
                (*path, "directory"), f"'directory': {clip(buffering.directory)} is not a directory; make it first"
            )
        elif not os.access(directory, os.W_OK | os.X_OK):
            compilation.report.warn(
                (*path, "directory"), f"'directory': no permission to make files in {clip(buffering.directory)}"
            )
    file_bytes = int(buffering.file) if isinstance(buffering, ResponseBuffering) else None
    counter = compilation.context.row.slot("http.spooled_bytes")
    return SpoolSettings(int(buffering.memory), directory, rule_key(path), counter, file_bytes)


def _client_settings(path: Path, rule: ProxyRule, upstream: Upstream) -> ClientSettings:
    section = upstream.section
    # A PROXY header speaks for one client only: connections that begin with one are not kept for others.
    is_kept = section.keepalive and not any(target.section.send_proxy for target in upstream.targets)
    times = rule.timeouts
    common = rule.timeout
    return ClientSettings(
        send_timeout_s=float(times.send),
        response_timeout_s=float(times.response if common is None else common),
        read_timeout_s=float(times.read if common is None else common),
        pool_size=section.keepalive_pool_size if is_kept else 0,
        pool_idle_s=float(section.keepalive_idle_timeout),
        buffer_size=rule.buffer_size,
        send_key=rule_key(path, "timeouts", "send"),
        response_key=rule_key(path, *(("timeouts", "response") if common is None else ("timeout",))),
        read_key=rule_key(path, *(("timeouts", "read") if common is None else ("timeout",))),
    )
