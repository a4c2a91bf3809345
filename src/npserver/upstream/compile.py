"""Compiles the config section `upstreams`, and the targets whose addresses stand in rules."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from npserver.address import BYTES, DATAGRAMS, HTTP, Address, parse_target, schemes_reaching
from npserver.errors import clip
from npserver.guess import get_close_matches
from npserver.idn import to_ascii
from npserver.runtime.compilation import PerCompilation
from npserver.tls.store import CERTIFICATES
from npserver.upstream.config import HealthCheck, TargetSection, UpstreamSection, UpstreamTls
from npserver.upstream.group import Upstream
from npserver.upstream.health_state import parse_statuses
from npserver.upstream.sticky import cookie_fault, cookie_name
from npserver.upstream.target import Target, TargetSettings

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

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
    _check_cookie_names(compilation)
    return compiled


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
) -> Upstream:
    """Return an upstream of the one target whose address stands in a rule; `path` is the place of that address.

    Upstreams of the same target share its load and its state, and with equal TLS settings its pool.
    """
    context = compilation.context
    client_tls = _ClientTls(compilation, (*path[:-1], "tls"), tls or UpstreamTls())
    uri = str(Address(address.scheme, address.host, address.port, address.path if address.is_unix else ""))
    target = Target(context, uri, client_tls.add_to(TargetSettings(TargetSection(uri=uri), address)))
    return Upstream(context, uri, UpstreamSection(targets=[uri]), (target,))


def with_tls(compilation: Compilation, path: Path, upstream: Upstream, tls: UpstreamTls) -> Upstream:
    """Return the upstream with the TLS settings of a rule; its connections are in pools of their own."""
    client_tls = _ClientTls(compilation, path, tls)
    context = upstream.context
    targets = [Target(context, upstream.name, client_tls.add_to(target.settings)) for target in upstream.targets]
    return Upstream(context, upstream.name, upstream.section, tuple(targets))


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
    if config.health_check is not None and _check_health_check(report, path, config.health_check, schemes):
        from npserver.upstream.health_checks import HealthChecks

        compilation.services.append(HealthChecks(context, upstream, config.health_check))
    return upstream


def _compile_targets(compilation: Compilation, path: Path, name: str, config: UpstreamSection) -> Iterator[Target]:
    report = compilation.report
    client_tls = _ClientTls(compilation, (*path, "tls"), config.tls)
    is_checked = config.health_check is not None
    # the only target is never marked down
    retry_timeout_s = float(config.retry_timeout_seconds) if len(config.targets) > 1 else 0.0
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
        if one.send_proxy is not None and address.scheme == "https":
            report.error((*place, "send_proxy"), f"'send_proxy' cannot be used with https targets, got {clip(one.uri)}")
        settings = TargetSettings(one, address, is_checked=is_checked, retry_timeout_s=retry_timeout_s)
        target = Target(compilation.context, name, client_tls.add_to(settings))
        if target.uri in seen:
            report.error(place, f"duplicate target {clip(target.uri)}")
            continue
        seen.add(target.uri)
        yield target


def _are_compatible(schemes: list[str]) -> bool:
    """Return whether targets with these schemes can serve the same rules."""
    return _HTTP_TARGETS.issuperset(schemes) or _RELAYED_TARGETS.issuperset(schemes)


def _check_health_check(report: Report, path: Path, check: HealthCheck, schemes: list[str]) -> bool:
    """Report errors of a health check. Return whether it can be compiled in spite of them."""
    place = (*path, "health_check")
    if not schemes_reaching(DATAGRAMS).isdisjoint(schemes):
        if check.port is None:
            report.error(place, "health checks of datagram targets connect over TCP and require 'port'")
    elif check.type == "http" and not _HTTP_TARGETS.issuperset(schemes):
        report.error((*place, "type"), "checks of type 'http' require http, https or unix targets")
    try:
        parse_statuses(check.expect.status)
    except ValueError as error:
        report.error((*place, "expect", "status"), str(error))
        return False
    if not check.path.startswith("/"):
        report.error((*place, "path"), f"must start with '/', got {clip(check.path)}")
    return True


class _ClientTls:
    """One `tls` section of an upstream or rule. Its SSL context is made for the first TLS target and shared by all."""

    def __init__(self, compilation: Compilation, path: Path, config: UpstreamTls) -> None:
        self._compilation = compilation
        self._path = path
        self._config = config
        self._context: ssl.SSLContext | None = None
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
        server_name = self._server_name or address.host
        return replace(settings, tls=self._context, server_name=server_name, tls_identity=self._identity(server_name))

    def _identity(self, server_name: str) -> str:
        """Return a text that differs for different TLS settings, and for changed contents of the files they name."""
        config, document = self._config, self._compilation.document
        files = CERTIFICATES.of(self._compilation.context).files
        named = [document.resolve(name) for name in (config.ca, config.cert, config.key, config.key_passphrase) if name]
        return repr((server_name, config, [files.state(name) for name in named]))
