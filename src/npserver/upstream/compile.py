"""Compiles `upstreams` and the targets that rules name themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from npserver.address import BYTES, DATAGRAMS, HTTP, Address, parse_target, schemes_reaching
from npserver.errors import clip
from npserver.guess import get_close_matches
from npserver.runtime.compilation import PerCompilation
from npserver.tls.certificates import CERTIFICATES
from npserver.upstream.config import HealthCheck, TargetSection, UpstreamSection, UpstreamTls
from npserver.upstream.group import Upstream, UpstreamSettings
from npserver.upstream.health_state import parse_statuses
from npserver.upstream.retry import RetryPolicy
from npserver.upstream.target import Target, TargetSettings

if TYPE_CHECKING:
    import ssl

    from npserver.config.report import Path, Report
    from npserver.runtime.compilation import Compilation

_HTTP_TARGETS = schemes_reaching(HTTP)
_RELAYED_TARGETS = schemes_reaching(BYTES, DATAGRAMS)


def _compile_all(compilation: Compilation) -> dict[str, Upstream]:
    compiled = {}
    for name, config in compilation.config.upstreams.items():
        upstream = _compile(compilation, ("upstreams", name), name, config)
        if upstream is not None:
            compiled[name] = upstream
    return compiled


#: All named upstreams; those with errors are left out.
UPSTREAMS = PerCompilation(_compile_all)


def find_upstream(compilation: Compilation, path: Path, address: Address) -> Upstream | None:
    """Return the upstream that an `upstream://` address names; None, with an error in the report, if there is none."""
    upstreams = UPSTREAMS.of(compilation)
    if address.host in upstreams:
        return upstreams[address.host]
    configured = compilation.config.upstreams
    if address.host not in configured:  # a configured one is missing because of errors, which are reported already
        close = get_close_matches(address.host, configured, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        compilation.report.error(path, f"unknown upstream {clip(address.host)}{hint}")
    return None


def single_target(
    compilation: Compilation,
    path: Path,
    uri: str | Address,
    *,
    tls: UpstreamTls | None = None,
    send_proxy: Literal["v1", "v2"] | None = None,
    connect_timeout_s: float = 5.0,
) -> Upstream | None:
    """Return an upstream of the one target that a rule names; equal ones share state and pool."""
    report, context = compilation.report, compilation.context
    try:
        address = parse_target(uri) if isinstance(uri, str) else uri
    except ValueError as error:
        report.error(path, str(error))
        return None
    if address.scheme == "upstream":
        report.error(path, f"expected the address of a target, got {clip(str(address))}")
        return None
    client_tls = _ClientTls(compilation, (*path[:-1], "tls"), tls or UpstreamTls())
    settings = client_tls.settings(address, TargetSection(uri="", send_proxy=send_proxy))
    origin = str(Address(address.scheme, address.host, address.port, address.path if address.is_unix else ""))
    target = Target(context, origin, settings)
    return Upstream(context, UpstreamSettings(origin, connect_timeout_s=connect_timeout_s), (target,))


def with_tls(compilation: Compilation, path: Path, upstream: Upstream, tls: UpstreamTls) -> Upstream:
    """Return the same upstream with other TLS settings towards its targets, hence with pools of its own."""
    client_tls = _ClientTls(compilation, path, tls)
    targets = []
    for target in upstream.targets:
        old = target.settings
        config = TargetSection(
            uri="",
            weight=old.weight,
            backup=old.backup,
            max_connections=old.max_connections,
            send_proxy=old.send_proxy,
        )
        settings = client_tls.settings(old.address, config)
        settings = replace(settings, is_checked=old.is_checked, retry_timeout_s=old.retry_timeout_s)
        targets.append(Target(upstream.context, upstream.name, settings))
    return Upstream(upstream.context, upstream.settings, tuple(targets))


def _compile(compilation: Compilation, path: Path, name: str, config: UpstreamSection) -> Upstream | None:
    report, context = compilation.report, compilation.context
    targets: list[Target] = []
    seen: set[str] = set()
    schemes: dict[str, None] = {}
    client_tls = _ClientTls(compilation, (*path, "tls"), config.tls)
    # the only target is never marked down
    retry_timeout_s = float(config.retry_timeout_seconds) if len(config.targets) > 1 else 0.0
    if not config.targets:
        report.error((*path, "targets"), f"upstream {name!r} has no targets")
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
            report.error(place, f"a target of an upstream has no path, got {clip(address.path)}; give it to proxy_pass")
        one_settings = client_tls.settings(address, one)
        is_checked = config.health_check is not None
        target = Target(context, name, replace(one_settings, is_checked=is_checked, retry_timeout_s=retry_timeout_s))
        if target.uri in seen:
            report.error(place, f"target {target.uri} is named twice")
            continue
        seen.add(target.uri)
        schemes[address.scheme] = None
        targets.append(target)
    if not _may_mix(schemes):
        report.error((*path, "targets"), f"targets of one upstream must speak the same, got {', '.join(schemes)}")
    if not targets:
        return None
    if not any(target.settings.weight and not target.settings.backup for target in targets):
        report.warn((*path, "targets"), f"upstream {name!r} has only backup targets or targets of weight 0")
    settings = UpstreamSettings(
        name=name,
        balance=config.balance,
        connect_timeout_s=float(config.proxy_timeout_seconds),
        connect_key=f"upstreams.{name}.proxy_timeout_seconds",
        retry=RetryPolicy(config.retries, frozenset(config.retry_on)),
        slow_start_s=float(config.slow_start),
        keepalive=config.keepalive,
        pool_size=config.keepalive_pool_size,
        pool_idle_s=float(config.keepalive_idle_timeout),
        sticky=config.sticky,
        health_check=config.health_check,
    )
    upstream = Upstream(context, settings, tuple(targets))
    if config.health_check is not None and _check_health_check(report, path, config.health_check, schemes):
        from npserver.upstream.health_checks import HealthChecks

        compilation.services.append(HealthChecks(context, upstream, config.health_check))
    return upstream


def _may_mix(schemes: dict[str, None]) -> bool:
    return _HTTP_TARGETS.issuperset(schemes) or _RELAYED_TARGETS.issuperset(schemes)


def _check_health_check(report: Report, path: Path, check: HealthCheck, schemes: dict[str, None]) -> bool:
    """Return whether the checks can be made; what is wrong with them stands in the report."""
    place = (*path, "health_check")
    if not schemes_reaching(DATAGRAMS).isdisjoint(schemes):
        if check.port is None:
            report.error(place, "datagram targets can only be checked over TCP at another `port`")
    elif check.type == "http" and not _HTTP_TARGETS.issuperset(schemes):
        report.error((*place, "type"), "an http check needs http, https or unix targets")
    if not check.interval:
        report.error((*place, "interval"), "must be above 0")
    try:
        parse_statuses(check.expect.status)
    except ValueError as error:
        report.error((*place, "expect", "status"), str(error))
        return False
    if not check.path.startswith("/"):
        report.error((*place, "path"), f"must start with '/', got {clip(check.path)}")
    return True


class _ClientTls:
    """TLS towards targets that share one `tls` section. The context is made for the first target that needs it."""

    def __init__(self, compilation: Compilation, path: Path, config: UpstreamTls) -> None:
        self._compilation = compilation
        self._path = path
        self._config = config
        self._context: ssl.SSLContext | None = None
        self._is_made = False

    def settings(self, address: Address, config: TargetSection) -> TargetSettings:
        """Return the settings of a target."""
        if address.is_tls and config.send_proxy is not None and address.scheme == "https":
            message = f"send_proxy needs an http target, the header would come inside TLS: {clip(str(address))}"
            self._compilation.report.error((*self._path[:-1], "targets"), message)
        plain = TargetSettings(address, config.weight, config.backup, config.max_connections, config.send_proxy)
        if not address.is_tls:
            return plain
        if not self._is_made:
            from npserver.tls.compile import client_context

            self._context = client_context(self._compilation, self._path, self._config)
            self._is_made = True
        server_name = self._config.server_name or address.host
        return replace(plain, tls=self._context, server_name=server_name, tls_identity=self._identity(server_name))

    def _identity(self, server_name: str) -> str:
        """Return a text that is equal for equal TLS settings: their keys, and the state of the files they name."""
        config, document = self._config, self._compilation.document
        files = CERTIFICATES.of(self._compilation.context).files
        named = [document.resolve(name) for name in (config.ca, config.cert, config.key) if name]
        return repr((server_name, config, [files.state(name) for name in named]))
