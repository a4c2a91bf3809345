"""The services that the controller runs for a config: health checks, DNS lookups of targets, certificate watching."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.address import Address, parse_target
from npserver.program.kinds import kind_of
from npserver.tls.store import CERTIFICATES
from npserver.upstream.config import TargetSection
from npserver.web.config import HttpRule
from npserver.web.middleware.order import middleware_targets

if TYPE_CHECKING:
    from npserver.config.schema import Config
    from npserver.runtime.compilation import Compilation
    from npserver.runtime.front import Service

RESOLVE_INTERVAL_S = 30.0  # of targets that a rule names itself, as `resolve_interval` of upstreams


def compile_services(compilation: Compilation) -> tuple[Service, ...]:
    """Return the services of a config, those that its compilers have added included; nothing runs yet."""
    context = compilation.context
    found: list[Service] = list(compilation.services)
    if intervals_s := resolve_intervals(compilation.config):
        from npserver.net.resolver import Resolution

        found.append(Resolution(context.pubsub, intervals_s))
    if CERTIFICATES.of(context).loaded:
        from npserver.tls.watch import CertificateWatch

        found.append(CertificateWatch(context))
    return tuple(found)


def resolve_intervals(config: Config) -> dict[str, float]:
    """Return the seconds between two lookups of the host of each target; the shortest of several intervals counts."""
    intervals: dict[str, float] = {}
    for uri, interval_s in _targets(config):
        address = _parsed(uri)
        if address is not None and not address.is_unix and address.scheme != "upstream":
            intervals[address.host] = min(interval_s, intervals.get(address.host, interval_s))
    return intervals


def has_tls_targets(config: Config) -> bool:
    """Return whether a target is reached over TLS."""
    addresses = [_parsed(uri) for uri, _ in _targets(config)]
    return any(address is not None and address.is_tls for address in addresses)


def _targets(config: Config) -> list[tuple[str, float]]:
    """Return the URIs of all targets, each with the seconds between two lookups of its host."""
    found: list[tuple[str, float]] = []
    for upstream in config.upstreams.values():
        uris = [target.uri if isinstance(target, TargetSection) else target for target in upstream.targets]
        found += [(uri, upstream.resolve_interval) for uri in uris]
    for rule in config.dispatch:
        found += [(uri, RESOLVE_INTERVAL_S) for uri in kind_of(rule).targets(rule)]
        if isinstance(rule, HttpRule):
            found += [(uri, RESOLVE_INTERVAL_S) for uri in middleware_targets(rule)]
    return found


def _parsed(uri: str) -> Address | None:
    try:
        return parse_target(uri)
    except ValueError:
        return None  # reported where the target is compiled
