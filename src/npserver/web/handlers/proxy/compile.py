"""Compiles proxy rules into handlers."""

from __future__ import annotations

import dataclasses
import os
import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from npserver.address import SCHEMES, parse_target
from npserver.config.units import parse_percent
from npserver.errors import BadRequest, clip
from npserver.http.request_target import canonical_path
from npserver.regex import regex
from npserver.runtime.compilation import PerCompilation
from npserver.upstream.response_sink import ClientSettings
from npserver.web.checks import rule_key
from npserver.web.handlers.proxy.config import RequestBuffering, ResponseBuffering
from npserver.web.handlers.proxy.handler import ProxyHandler
from npserver.web.handlers.proxy.proxy import Proxy, ProxySettings
from npserver.web.handlers.proxy.spool import SpoolSettings
from npserver.web.http_upstream import http_upstream
from npserver.web.logs.needs import NEEDS
from npserver.web.maps.compile import MAPS
from npserver.web.middleware.headers.changes import compile_changes
from npserver.web.request_times import upstream_times
from npserver.web.routing import Pattern, parse_pattern
from npserver.web.trusted_proxies import TRUSTED_PROXIES
from npserver.web.variables import compile_template, is_constant, variable_names

if TYPE_CHECKING:
    from npserver.config.report import Path, Report
    from npserver.runtime.compilation import Compilation
    from npserver.upstream.group import Upstream
    from npserver.web.handlers.proxy.cache.handler import CacheHandler
    from npserver.web.handlers.proxy.config import MirrorSection, ProxyRule
    from npserver.web.handlers.proxy.files_first import FilesFirst
    from npserver.web.handlers.proxy.mirror import Mirror
    from npserver.web.handlers.proxy.split import SplitHandler
    from npserver.web.variables import Template

#: Where the copies of each rule go, whichever part of a `split` the requests do.
_MIRRORS: PerCompilation[dict[Path, Mirror | None]] = PerCompilation(lambda _: {})

_PLACE = regex(r"\$(\d)|\\(?![1-9])")


def compile_proxy(
    compilation: Compilation, path: Path, rule: ProxyRule
) -> ProxyHandler | CacheHandler | SplitHandler | FilesFirst | None:
    """Make the handler of a proxy rule; None if it has errors, which stand in the report."""
    handler = _compile_upstreams(compilation, path, rule)
    if rule.root is None:
        for key, value in (("follow_symlinks", rule.follow_symlinks), ("cache_control", rule.cache_control)):
            if value:
                compilation.report.error((*path, key), f"'{key}' has no effect without 'root'")
        return handler
    from npserver.web.handlers.proxy.files_first import FilesFirst
    from npserver.web.handlers.static.compile import compile_static
    from npserver.web.handlers.static.config import StaticRule

    section = StaticRule(
        path=rule.path,
        root=rule.root,
        index=[],
        cache_control=rule.cache_control,
        follow_symlinks=rule.follow_symlinks,
    )
    files = compile_static(compilation, path, section)
    return None if files is None or handler is None else FilesFirst(files, handler)


def _compile_upstreams(
    compilation: Compilation, path: Path, rule: ProxyRule
) -> ProxyHandler | CacheHandler | SplitHandler | None:
    compile_part = compile_one if rule.cache is False else _compile_cached
    handler = compile_part(compilation, path, rule, (*path, "proxy_pass"))
    _check_tls(compilation, path, rule)
    if rule.split:
        from npserver.web.handlers.proxy.split import compile_split

        return compile_split(compilation, path, rule, handler, compile_part)
    if rule.split_by != "$client_ip":
        compilation.report.error((*path, "split_by"), "'split_by' has no effect without 'split'")
    return handler


def _check_tls(compilation: Compilation, path: Path, rule: ProxyRule) -> None:
    """Warn of `tls` that no target of the rule uses. That of a named upstream decides itself what it is for."""
    targets = [rule.proxy_pass, *rule.split, *([rule.mirror.to] if rule.mirror else [])]
    if rule.tls is not None and not any(target.lower().startswith(("https:", "upstream:")) for target in targets):
        compilation.report.warn((*path, "tls"), f"'tls' has no effect: {clip(rule.proxy_pass)} is not https")


def _compile_cached(compilation: Compilation, path: Path, rule: ProxyRule, place: Path) -> CacheHandler | None:
    """Make the handler for one upstream of a rule with a cache."""
    from npserver.web.handlers.proxy.cache.compile import compile_cache

    handler = compile_one(compilation, path, rule, place)
    return None if handler is None else compile_cache(compilation, path, rule, handler)


def compile_one(compilation: Compilation, path: Path, rule: ProxyRule, place: Path) -> ProxyHandler | None:
    """Make the handler for one upstream of a rule, the rule's `proxy_pass`, which stands at `place`."""
    report = compilation.report
    found = http_upstream(compilation, place, rule.proxy_pass, rule.tls)
    base = _compile_base(report, place, rule)
    strip = _compile_strip(report, path, rule)
    rewrites = _compile_rewrites(report, path, rule)
    try:
        changes = compile_changes(rule.headers, MAPS.of(compilation), for_application=True)
    except ValueError as error:
        report.error((*path, "headers"), str(error))
        return None
    if found is None:
        return None
    upstream = with_keys_of(rule, found)
    settings = compile_settings(compilation, path, place, rule, upstream)
    proxy = Proxy(upstream, dataclasses.replace(settings, base=base, strip=strip, rewrites=rewrites, changes=changes))
    redirects = _redirects_to_slash(rule, strip)
    if upstream.queue is None and rule.mirror is None and not proxy.is_timed:
        return ProxyHandler(proxy, redirects_to_slash=redirects)
    from npserver.web.handlers.proxy.general_handler import GeneralHandler

    mirrors = _MIRRORS.of(compilation)
    if rule.mirror is not None and path not in mirrors:
        mirrors[path] = _compile_mirror(compilation, path, rule, rule.mirror)
    return GeneralHandler(proxy, redirects_to_slash=redirects, mirror=mirrors.get(path))


def with_keys_of(rule: ProxyRule, upstream: Upstream) -> Upstream:
    """Return an upstream with the keys that a rule has in place of its own."""
    return upstream.with_keys(
        balance=rule.balance,
        retries=rule.retries,
        keepalive=rule.keepalive,
        keepalive_pool_size=rule.keepalive_pool_size,
        keepalive_idle_timeout=rule.keepalive_idle_timeout,
        proxy_timeout_seconds=rule.timeouts.connect,
    )


def compile_settings(
    compilation: Compilation, path: Path, place: Path, rule: ProxyRule, upstream: Upstream
) -> ProxySettings:
    """Make the settings of a rule towards one upstream, which stands at `place`, but for paths and header changes."""
    is_named = upstream.name in compilation.config.upstreams
    return ProxySettings(
        rule,
        client=_client_settings(path, rule, upstream),
        key=rule_key(path),
        pass_key=rule_key(*_key_of(path, place)),
        upstream_key=f"upstreams.{upstream.name}" if is_named else rule_key(*_key_of(path, place)),
        connect_key=rule_key(path, "timeouts", "connect")
        if rule.timeouts.connect is not None or not is_named
        else f"upstreams.{upstream.name}.proxy_timeout_seconds",
        trusted=TRUSTED_PROXIES.of(compilation),
        is_traced=compilation.config.tracing is not None and rule.trace,
        times_attempts=rule.log and NEEDS.of(compilation).attempts,
        times=upstream_times(compilation, rule.name or rule_key(path)),
        hash_of=_compile_hash(compilation, path, upstream),
        request_spool=compile_spool(compilation, (*path, "request_buffering"), rule.request_buffering),
        response_spool=compile_spool(compilation, (*path, "response_buffering"), rule.response_buffering),
    )


def _compile_mirror(compilation: Compilation, path: Path, rule: ProxyRule, section: MirrorSection) -> Mirror | None:
    """Make what sends the copies of a rule's requests; None if it has errors, which stand in the report."""
    from npserver.web.handlers.proxy.mirror import Mirror

    report, place = compilation.report, (*path, "mirror", "to")
    handler = compile_one(compilation, path, replace(rule, proxy_pass=section.to, mirror=None), place)
    try:
        share = parse_percent(section.share)
    except ValueError as error:
        report.error((*path, "mirror", "share"), str(error))
        return None
    if not share:
        report.error((*path, "mirror", "share"), "nothing is copied with a share of 0%: raise it, or remove 'mirror'")
    if handler is None:
        return None
    if section.to == rule.proxy_pass:
        report.warn(place, f"{clip(section.to)} is 'proxy_pass' too: it gets each copied request twice")
    if any(target.section.send_proxy for target in handler.proxy.upstream.targets):
        report.error(place, "copies cannot be sent to targets with 'send_proxy'")
    return Mirror(handler.proxy, section, share, rule_key(path, "mirror"))


def _compile_hash(compilation: Compilation, path: Path, upstream: Upstream) -> Template | None:
    """Return what an upstream with `balance` `hash` hashes; None for other ones."""
    text, place = upstream.section.hash, ("upstreams", upstream.name, "hash")
    if upstream.section.balance != "hash":
        return None
    if text is None:  # a rule has asked for it
        if upstream.base.section.balance != "hash":
            message = f'"hash" needs \'hash\' of upstream {clip(upstream.name)}: what to hash, such as "$header.x-user"'
            compilation.report.error((*path, "balance"), message)
        return None
    try:
        template = compile_template(text, MAPS.of(compilation))
    except ValueError as error:
        compilation.report.error(place, str(error))
        return None
    if is_constant(text):
        compilation.report.error(place, f"all requests would go to one target: {clip(text)} has no $variable")
    elif "upstream" in variable_names(text):
        compilation.report.error(place, "$upstream is empty: it is the target, which is chosen by this")
    return template


def _key_of(path: Path, place: Path) -> tuple[Path, str]:
    """Return the rule and the key of it in which an upstream stands: `proxy_pass` or `split`."""
    return path, str(place[len(path)])


def _compile_base(report: Report, place: Path, rule: ProxyRule) -> str:
    """Return the path of `proxy_pass`, without a slash at its end."""
    try:
        address = parse_target(rule.proxy_pass, likely_scheme="http")
    except ValueError:
        return ""  # reported already
    if not SCHEMES[address.scheme].has_path:
        return ""
    return _canonical(report, place, address.path or "/").rstrip("/")


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


def compile_spool(
    compilation: Compilation, path: Path, buffering: bool | RequestBuffering | ResponseBuffering
) -> SpoolSettings | None:
    """Make the settings of `request_buffering` or `response_buffering`, which stands at `path`; None if it is false."""
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
    times = rule.timeouts
    common = rule.timeout
    tunnel_idle_s, tunnel_key = float(times.tunnel_idle), rule_key(path, "timeouts", "tunnel_idle")
    return ClientSettings(
        send_timeout_s=float(times.send),
        response_timeout_s=float(times.response if common is None else common),
        read_timeout_s=float(times.read if common is None else common),
        pool_size=upstream.pool_size,
        pool_idle_s=float(upstream.section.keepalive_idle_timeout),
        buffer_size=rule.buffer_size,
        send_key=rule_key(path, "timeouts", "send"),
        response_key=rule_key(path, *(("timeouts", "response") if common is None else ("timeout",))),
        read_key=rule_key(path, *(("timeouts", "read") if common is None else ("timeout",))),
        streaming=ClientSettings(
            send_timeout_s=tunnel_idle_s,
            response_timeout_s=tunnel_idle_s,
            read_timeout_s=tunnel_idle_s,
            buffer_size=rule.buffer_size,
            read_key=tunnel_key,
        )
        if any(target.settings.http2 is not None for target in upstream.targets)
        else None,
    )
