"""Compiles the config section `upstreams`, and the targets whose addresses stand in rules."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from npserver.address import BYTES, DATAGRAMS, HTTP, SCHEMES, Address, parse_target, schemes_reaching
from npserver.config.units import parse_percent
from npserver.errors import clip
from npserver.guess import get_close_matches
from npserver.idn import to_ascii
from npserver.observe.config import keeps_exemplars
from npserver.runtime.compilation import PerCompilation
from npserver.tls.store import CERTIFICATES
from npserver.upstream.config import HealthCheck, TargetSection, UpstreamHttp2, UpstreamSection, UpstreamTls
from npserver.upstream.group import Upstream
from npserver.upstream.health_state import parse_statuses
from npserver.upstream.http2.settings import http2_settings
from npserver.upstream.sticky import cookie_fault, cookie_name
from npserver.upstream.target import Target, TargetSettings
from npserver.upstream.waiting_queue import QUEUES

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from npserver.config.report import Path, Report
    from npserver.runtime.compilation import Compilation
    from npserver.runtime.context import Context
    from npserver.upstream.http2.settings import Http2Settings

_HTTP_TARGETS = schemes_reaching(HTTP)
_DEFAULT_CHECK = HealthCheck()
_MAX_SERVICE_BYTES = 1024
_RELAYED_TARGETS = schemes_reaching(BYTES, DATAGRAMS)
#: The schemes of the targets that FastCGI can be spoken to: streams without TLS.
FASTCGI_TARGETS = frozenset(
    name for name in schemes_reaching(BYTES) if SCHEMES[name].is_stream and not SCHEMES[name].is_tls
)


def _compile_all(compilation: Compilation) -> dict[str, Upstream]:
    compiled = {}
    for name, config in compilation.config.upstreams.items():
        upstream = _compile(compilation, ("upstreams", name), name, config)
        if upstream is not None:
            compiled[name] = upstream
    _check_cookie_names(compilation)
    compilation.activations.append(partial(_activate, compilation.context, compiled))
    return compiled


def _activate(context: Context, compiled: dict[str, Upstream]) -> None:
    """Let requests that wait for upstreams of the config before use the targets of this one."""
    for name, queue in QUEUES.of(context).items():
        if name in compiled:
            queue.activate(compiled[name])


def _check_cookie_names(compilation: Compilation) -> None:
    """Refuse equal names: on one host, each upstream would overwrite the other's cookie."""
    names: dict[bytes, str] = {}
    for name, config in compilation.config.upstreams.items():
        if config.sticky is not None and not cookie_fault(config.sticky):
            first = names.setdefault(cookie_name(config.sticky, name), name)
            if first != name:
                message = (
                    f"upstream {clip(first)} has the same cookie: give each its own name, or none, which does that"
                )
                compilation.report.error(("upstreams", name, "sticky"), message)


#: The upstreams of the config by name, without those that have no valid target.
UPSTREAMS = PerCompilation(_compile_all)


def find_upstream(compilation: Compilation, path: Path, address: Address) -> Upstream | None:
    """Return the upstream that an `upstream://` address names; None, with an error in the report, if there is none."""
    upstreams = UPSTREAMS.of(compilation)
    if address.host in upstreams:
        return upstreams[address.host]
    configured = compilation.config.upstreams
    if address.host not in configured:  # a configured one is missing because of errors that are reported already
        close = get_close_matches(address.host, configured, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        compilation.report.error(path, f"unknown upstream {clip(address.host)}{hint}")
    return None


def single_target(
    compilation: Compilation,
    path: Path,
    address: Address,
    *,
    tls: UpstreamTls | None = None,
    counted_as: str = "",
) -> Upstream:
    """Return an upstream of the one target whose address stands in a rule; `path` is the place of that address.

    Upstreams of the same target share its load and its state, and with equal TLS settings its pool. `counted_as`: the
    range of ports whose targets share their counters.
    """
    context = compilation.context
    client_tls = _ClientTls(compilation, (*path[:-1], "tls"), tls or UpstreamTls())
    uri = str(Address(address.scheme, address.host, address.port, address.path if address.is_unix else ""))
    http2 = _compile_http2(address, tls or UpstreamTls(), UpstreamHttp2(), "<name>")
    settings = TargetSettings(TargetSection(uri=uri), address, http2=http2, counted_as=counted_as)
    name = counted_as or uri
    target = _make_target(compilation, name, client_tls.add_to(settings))
    return Upstream(context, name, UpstreamSection(targets=[uri]), (target,))


def with_tls(compilation: Compilation, path: Path, upstream: Upstream, tls: UpstreamTls) -> Upstream:
    """Return the upstream with the TLS settings of a rule; its connections are in pools of their own."""
    client_tls = _ClientTls(compilation, path, tls)
    targets = []
    for target in upstream.targets:
        http2 = _compile_http2(target.address, tls, upstream.section.http2, upstream.name)
        settings = replace(target.settings, http2=http2)
        targets.append(_make_target(compilation, upstream.name, client_tls.add_to(settings)))
    return Upstream(upstream.context, upstream.name, upstream.section, tuple(targets))


def _compile(compilation: Compilation, path: Path, name: str, config: UpstreamSection) -> Upstream | None:
    report, context = compilation.report, compilation.context
    if not config.targets:
        report.error((*path, "targets"), f"upstream {clip(name)} has no targets")
    targets = tuple(_compile_targets(compilation, path, name, config))
    schemes = list(dict.fromkeys([target.address.scheme for target in targets]))
    if not _are_compatible(schemes):
        report.error((*path, "targets"), f"an upstream cannot mix HTTP targets with others, got {', '.join(schemes)}")
    if not targets:
        return None
    if not any(target.section.weight and not target.section.backup for target in targets):
        report.warn((*path, "targets"), f"upstream {clip(name)} has only targets that are a backup or have weight 0")
    upstream = Upstream(context, name, config, targets)
    if config.sticky is not None and (fault := cookie_fault(config.sticky)):
        report.error((*path, "sticky"), fault)
    if config.balance == "hash" and config.hash is None:
        report.error((*path, "balance"), "'balance' \"hash\" needs 'hash', what to hash, such as \"$header.x-user\"")
    _warn(compilation, path, config, targets)
    if config.queue is not None and not config.wait:
        report.error((*path, "queue"), "'queue' has no effect: set 'wait', how long requests wait, such as \"10s\"")
    if config.wait and schemes_reaching(DATAGRAMS).issuperset(schemes):
        report.error((*path, "wait"), "'wait' has no effect: datagrams do not wait; remove it")
    if config.wait and not config.retry_timeout_seconds:
        report.error((*path, "wait"), "'wait' needs 'retry_timeout_seconds' above 0: else each one tries all targets")
    if config.health_check is not None and _check_health_check(report, path, config.health_check, schemes):
        from npserver.upstream.health_checks import HealthChecks

        is_over_tls = any(target.address.is_tls for target in targets)
        is_http2 = is_over_tls and config.health_check.type == "grpc"
        tls = _http2_context(compilation, path, config) if is_http2 else None
        compilation.services.append(HealthChecks(context, upstream, config.health_check, tls))
    if config.health is not None:
        share = _percent(report, (*path, "health", "errors"), config.health.errors)
        if len(targets) < 2:
            report.error((*path, "health"), "'health' has no effect: the last target of an upstream is never ejected")
        elif not share:
            report.error((*path, "health", "errors"), "'errors' must be above 0%: else each target is ejected")
        else:
            from npserver.upstream.ejection import Ejections

            compilation.services.append(Ejections(context, upstream, config.health, share))
    if config.retry_budget is not None:
        _percent(report, (*path, "retry_budget"), config.retry_budget)
        if not config.retries:
            report.error((*path, "retry_budget"), "'retry_budget' has no effect: 'retries' is 0")
    return upstream


def _warn(compilation: Compilation, path: Path, config: UpstreamSection, targets: tuple[Target, ...]) -> None:
    """Warn of `hash`, `tls` and `http2` that nothing uses, and of a short `wait`. A rule may have its own `balance`."""
    asked = {config.balance, *[getattr(rule, "balance", None) for rule in compilation.config.dispatch]}
    if config.hash is not None and "hash" not in asked:
        compilation.report.warn(
            (*path, "hash"), f"'hash' has no effect: 'balance' is \"{config.balance}\"; set it to \"hash\""
        )
    if config.tls != UpstreamTls() and not any(target.address.is_tls for target in targets):
        compilation.report.warn((*path, "tls"), "'tls' has no effect: no target is https or ssl")
    elif config.tls.http2 and not any(target.address.scheme == "https" for target in targets):
        compilation.report.warn((*path, "tls", "http2"), "'http2' has no effect: no target is https")
    has_http2 = any(target.settings.http2 is not None for target in targets)
    asks = [tls for rule in compilation.config.dispatch if (tls := getattr(rule, "tls", None)) is not None]
    if config.http2 != UpstreamHttp2() and not has_http2 and not any(getattr(tls, "http2", False) for tls in asks):
        message = "'http2' has no effect: no target is h2c, and no https target is offered it ('http2' in 'tls')"
        compilation.report.warn((*path, "http2"), message)
    if not config.http2.ping_interval and config.http2.ping_timeout != UpstreamHttp2().ping_timeout:
        message = "'ping_timeout' has no effect: 'ping_interval' is 0"
        compilation.report.warn((*path, "http2", "ping_timeout"), message)
    if len(targets) > 1 and 0 < config.wait <= config.proxy_timeout_seconds:
        compilation.report.warn(
            (*path, "wait"),
            "'wait' is not longer than 'proxy_timeout_seconds': a target that takes no connections uses it up, and no "
            "other is tried; make one longer or the other shorter",
        )


def _compile_http2(address: Address, tls: UpstreamTls, section: UpstreamHttp2, name: str) -> Http2Settings | None:
    """Return the settings of a target's connections over HTTP/2; None if it is not offered that.

    `name`: of the upstream that has the section.
    """
    is_offered = address.scheme == "h2c" or (address.scheme == "https" and tls.http2)
    return http2_settings(section, f"upstreams.{name}.http2") if is_offered else None


def _percent(report: Report, path: Path, text: str) -> float:
    """Return a share as a part of 1; 1, with an error in the report, if it is none."""
    try:
        return parse_percent(text)
    except ValueError as error:
        report.error(path, str(error))
        return 1.0


def _compile_targets(compilation: Compilation, path: Path, name: str, config: UpstreamSection) -> Iterator[Target]:
    report = compilation.report
    client_tls = _ClientTls(compilation, (*path, "tls"), config.tls)
    is_checked = config.health_check is not None or config.health is not None
    # the only target is never marked down, unless requests can wait until it is reachable again
    is_marked = len(config.targets) > 1 or config.wait
    retry_timeout_s = float(config.retry_timeout_seconds) if is_marked else 0.0
    seen: set[str] = set()
    for index, entry in enumerate(config.targets):
        one = entry if isinstance(entry, TargetSection) else TargetSection(uri=entry)
        place = (*path, "targets", index)
        try:
            address = parse_target(one.uri, likely_scheme="http")
        except ValueError as error:
            report.error((*place, "uri") if isinstance(entry, TargetSection) else place, str(error))
            continue
        if address.scheme == "upstream":
            report.error(place, f"a target must be an address, not another upstream: {clip(one.uri)}")
            continue
        if address.path not in ("", "/") and not address.is_unix:
            report.error(place, f"a target of an upstream has no path, got {clip(address.path)}: move it to proxy_pass")
        if one.send_proxy is not None and address.scheme in ("https", "h2c"):
            message = f"'send_proxy' cannot be used with {address.scheme} targets, got {clip(one.uri)}"
            report.error((*place, "send_proxy"), message)
        http2 = _compile_http2(address, config.tls, config.http2, name)
        settings = TargetSettings(
            one,
            address,
            is_checked=is_checked,
            retry_timeout_s=retry_timeout_s,
            http2=http2,
        )
        target = _make_target(compilation, name, client_tls.add_to(settings))
        if target.uri in seen:
            report.error(place, f"duplicate target {clip(target.uri)}")
            continue
        seen.add(target.uri)
        yield target


def _make_target(compilation: Compilation, name: str, settings: TargetSettings) -> Target:
    """Make a target of an upstream. The responses of those that speak HTTP are timed whichever rules use them."""
    target = Target(compilation.context, name, settings)
    if settings.address.scheme in _HTTP_TARGETS:
        time_responses(compilation, target)
    return target


def time_responses(compilation: Compilation, target: Target) -> None:
    """Have the responses of a target timed for the metrics, if they ask for it."""
    config = compilation.config
    if config.metrics.times:
        row, has_exemplars = compilation.context.row, keeps_exemplars(config.metrics, config.tracing)
        target.time_responses(row, has_exemplars=has_exemplars)


def _are_compatible(schemes: list[str]) -> bool:
    """Return whether targets with these schemes can serve the same rules."""
    return _HTTP_TARGETS.issuperset(schemes) or _RELAYED_TARGETS.issuperset(schemes)


def _check_health_check(report: Report, path: Path, check: HealthCheck, schemes: list[str]) -> bool:
    """Report errors of a health check. Return whether it can be compiled in spite of them."""
    place = (*path, "health_check")
    _check_schemes(report, place, check, schemes)
    try:
        parse_statuses(check.expect.status)
    except ValueError as error:
        report.error((*place, "expect", "status"), str(error))
        return False
    from npserver.upstream.check_request import faults

    for key, reason in faults(check):
        report.error((*place, *key), reason)
    if check.type == "tcp" or (check.type is None and not _HTTP_TARGETS.issuperset(schemes)):
        for name, is_set in (("method", check.method != "GET"), ("headers", check.headers)):
            if is_set:
                report.error((*place, name), f"'{name}' has no effect: the check only connects")
        for name in ("path", "host", "expect"):
            if getattr(check, name) != getattr(_DEFAULT_CHECK, name):
                report.warn((*place, name), f"'{name}' has no effect: the check only connects")
    if check.type == "grpc":
        for name in ("method", "path", "headers", "expect"):
            if getattr(check, name) != getattr(_DEFAULT_CHECK, name):
                report.error(
                    (*place, name), f"'{name}' has no effect: it is of http checks; remove it, or use 'service'"
                )
        if len((check.service or "").encode()) > _MAX_SERVICE_BYTES:
            report.error((*place, "service"), f"the name of a service has at most {_MAX_SERVICE_BYTES} bytes")
    elif check.service is not None:
        report.error((*place, "service"), "'service' has no effect: it is of grpc checks; set 'type' to \"grpc\"")
    return True


def _check_schemes(report: Report, place: Path, check: HealthCheck, schemes: list[str]) -> None:
    """Report a kind of health check that targets with these schemes cannot have."""
    if not schemes_reaching(DATAGRAMS).isdisjoint(schemes):
        if check.port is None:
            report.error(place, "health checks of datagram targets connect over TCP and require 'port'")
    elif check.type == "http" and not _HTTP_TARGETS.issuperset(schemes):
        report.error((*place, "type"), "checks of type 'http' require http, https, h2c or unix targets")
    elif check.type == "fastcgi" and not FASTCGI_TARGETS.issuperset(schemes):
        report.error((*place, "type"), "checks of type 'fastcgi' require tcp or unix targets")


def _http2_context(compilation: Compilation, path: Path, config: UpstreamSection) -> ssl.SSLContext | None:
    """Return the SSL context of gRPC checks, which offers only HTTP/2; None, with errors, if it cannot be made."""
    from npserver.tls.compile import client_context

    tls = client_context(compilation, (*path, "tls"), config.tls)
    if tls is not None:
        tls.set_alpn_protocols(["h2"])
    return tls


class _ClientTls:
    """One `tls` section of an upstream or rule. Its SSL context is made for the first TLS target and shared by all."""

    def __init__(self, compilation: Compilation, path: Path, config: UpstreamTls) -> None:
        self._compilation = compilation
        self._path = path
        self._config = config
        self._context: ssl.SSLContext | None = None
        self._http1: ssl.SSLContext | None = None
        self._is_made = False
        self._server_name = config.server_name
        try:
            self._server_name = config.server_name and to_ascii(config.server_name)
        except ValueError as error:
            compilation.report.error((*path, "server_name"), f"{clip(config.server_name)} is {error}")

    def add_to(self, settings: TargetSettings) -> TargetSettings:
        """Return the settings of a target, with TLS if its scheme asks for it."""
        address = settings.address
        if not address.is_tls:
            return settings
        if not self._is_made:
            from npserver.tls.compile import client_context

            self._context = client_context(self._compilation, self._path, self._config)
            self._is_made = True
            if self._context is not None and self._config.http2:
                self._http1 = client_context(self._compilation, self._path, self._config)
                self._context.set_alpn_protocols(["h2", "http/1.1"])
        server_name = self._server_name or address.host
        return replace(
            settings,
            tls=self._context,
            tls_http1=self._http1,
            server_name=server_name,
            tls_identity=self._identity(server_name),
        )

    def _identity(self, server_name: str) -> str:
        """Return a text that differs for different TLS settings, and for changed contents of the files they name."""
        config, document = self._config, self._compilation.document
        files = CERTIFICATES.of(self._compilation.context).files
        named = [document.resolve(name) for name in (config.ca, config.cert, config.key, config.key_passphrase) if name]
        return repr((server_name, config, [files.state(name) for name in named]))
