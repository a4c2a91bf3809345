"""Compiles `dns_forward`: the resolvers of each domain, the client that asks them, and who may use it."""

from __future__ import annotations

import ssl
from hashlib import blake2b
from ipaddress import ip_address
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.config.networks import compile_networks
from npserver.config.report import key_of
from npserver.dns.message.name import ROOT, parse_owner
from npserver.dns.zone.tables import ancestors
from npserver.errors import clip
from npserver.nameserver.resolver.address import ResolverAddress, parse_resolver
from npserver.nameserver.resolver.client import Group, ResolverClient
from npserver.nameserver.resolver.config import DnsForward, ResolverSection
from npserver.nameserver.resolver.discovery import discovery_records, dns_listeners
from npserver.nameserver.resolver.local_names import is_local, parse_local_zone
from npserver.nameserver.resolver.resolver import RESOLVERS, Resolver
from npserver.networks import Networks
from npserver.runtime.interfaces import interface_addresses
from npserver.tls.store import CERTIFICATES
from npserver.upstream.config import UpstreamTls

if TYPE_CHECKING:
    from npserver.config.report import Path, Report
    from npserver.nameserver.resolver.config import Resolvers
    from npserver.runtime.compilation import Compilation

MIN_FAILURE_S, MAX_FAILURE_S = 1, 300  # RFC 9520 §3.2
_LISTENED = {"udp": "udp", "tcp": "tcp", "tls": "ssl", "https": "https"}
_ALPN = {"tls": "dot", "https": "h2"}  # RFC 7858 §3.2, RFC 9113 §3.2


class Forwarding(Struct, frozen=True, eq=False):
    """The section compiled."""

    client: ResolverClient
    clients: Networks  # who may use it
    local: frozenset[bytes]  # the local names that the resolvers may be asked for
    discovery: dict[str, dict[str, object]]  # records of our encrypted listeners


def compile_forwarding(compilation: Compilation, served: frozenset[bytes]) -> Forwarding | None:
    """Compile the section; None if there is none, or none that can be used. `served`: the keys of our own zones."""
    report, settings = compilation.report, compilation.config.dns_forward
    if settings is None:
        return None
    at: Path = ("dns_forward", "resolvers")
    if isinstance(settings, list):
        at = ("dns_forward",)
        settings = DnsForward(resolvers=settings)
    _check(report, at, settings)
    compiler = _Compiler(compilation, settings)
    default = compiler.group(at, settings.resolvers, is_default=True) if settings.resolvers else None
    local = _local_zones(report, settings)
    zones: dict[bytes, Group] = {}
    for name, resolvers in settings.zones.items():
        place: Path = ("dns_forward", "zones", name)
        key = _zone(report, place, name)
        if key is None:
            continue
        if key in zones:
            report.error(place, f"the domain {clip(name)} is there twice: names are the same in upper and lower case")
        if any(above in served for above in ancestors(key)):
            report.warn(place, f"'zones' has no effect for {clip(name)}: it is in a zone that is served here")
        if not resolvers:
            report.error(place, f"expected the addresses of resolvers for {clip(name)}, got an empty list")
        group = compiler.group(place, resolvers)
        if group is not None:
            zones[key] = group
        if is_local(key):
            local.add(key)
    clients = compile_networks(report, ("dns_forward", "allow"), settings.allow)
    if default is None and not zones:
        return None
    client = ResolverClient(compilation.context, default, zones, settings, compiler.unguarded | local)
    compilation.activations.append(client.activate)
    return Forwarding(client, clients or Networks([]), frozenset(local), discovery_records(compilation.config))


def _check(report: Report, at: Path, settings: DnsForward) -> None:
    if not settings.resolvers and not settings.zones:
        report.error(at, "expected the addresses of resolvers, got an empty list")
    if settings.total_timeout < settings.timeout:
        report.error(
            ("dns_forward", "total_timeout"),
            f"expected at least timeout ({settings.timeout:g} s), got {settings.total_timeout:g} s",
        )
    if not MIN_FAILURE_S <= settings.failure_ttl <= MAX_FAILURE_S:
        report.error(
            ("dns_forward", "failure_ttl"),
            f"expected {MIN_FAILURE_S} to {MAX_FAILURE_S} s (RFC 9520 §3.2), got {settings.failure_ttl:g} s",
        )
    if settings.min_ttl > settings.max_ttl:
        report.error(
            ("dns_forward", "min_ttl"),
            f"expected at most max_ttl ({settings.max_ttl:g} s), got {settings.min_ttl:g} s",
        )
    if settings.rebind_allow and settings.rebind_protection == "off":
        report.error(
            ("dns_forward", "rebind_allow"),
            "'rebind_allow' has no effect: 'rebind_protection' is off; remove one of them",
        )
    for name in ("stale", "prefetch"):
        if getattr(settings, name) and not settings.cache_size:
            report.error(("dns_forward", name), f"'{name}' has no effect: 'cache_size' is 0; remove one of them")


def _zone(
    report: Report,
    place: Path,
    name: str,
    of_root: str = "the root is all names: write their resolvers into 'resolvers'",
) -> bytes | None:
    """Return the key of a domain; None, with an error in the report, if it is none."""
    if name.startswith("*."):
        report.error(place, f"write {clip(name[2:])}: names below a domain are included, got {clip(name)}")
        return None
    try:
        key = parse_owner(name).lower()
    except ValueError as error:
        report.error(place, str(error))
        return None
    if key == ROOT:
        report.error(place, of_root)
        return None
    return key


def _unguarded(report: Report, settings: DnsForward) -> frozenset[bytes]:
    """Return the keys of the domains that may have private addresses."""
    found: set[bytes] = set()
    for index, name in enumerate(settings.rebind_allow):
        place: Path = ("dns_forward", "rebind_allow", index)
        key = _zone(report, place, name, 'the root is all names: write "rebind_protection": "off"')
        if key is not None:
            if key in found:
                report.error(place, f"duplicate domain {clip(name)}")
            found.add(key)
    return frozenset(found)


def _local_zones(report: Report, settings: DnsForward) -> set[bytes]:
    found: set[bytes] = set()
    for index, name in enumerate(settings.local_zones):
        try:
            found.add(parse_local_zone(name))
        except ValueError as error:
            report.error(("dns_forward", "local_zones", index), str(error))
    return found


class _Compiler:
    """Compiles the resolvers of one config."""

    def __init__(self, compilation: Compilation, settings: DnsForward) -> None:
        self._compilation = compilation
        self._settings = settings
        self._own: frozenset[tuple[str, str, int]] | None = None
        #: The domains of `rebind_allow`.
        self.unguarded = _unguarded(compilation.report, settings)

    def group(self, path: Path, resolvers: Resolvers, *, is_default: bool = False) -> Group | None:
        """Compile the resolvers of a domain; None, with errors in the report, if one cannot be used.

        `is_default`: they are those of all other domains, whose answers are guarded.
        """
        report, settings = self._compilation.report, self._settings
        found: dict[ResolverAddress, tuple[Resolver, str]] = {}
        trusted: set[Resolver] = set()
        has_fault = False
        for index, entry in enumerate(resolvers):
            place: Path = (*path, index)
            section = entry if isinstance(entry, ResolverSection) else ResolverSection(uri=entry)
            given = [section.address] if isinstance(section.address, str) else section.address
            try:
                addresses = parse_resolver(section.uri, given, section.server_name, section.ca)
            except ValueError as error:
                report.error(place, str(error))
                has_fault = True
                continue
            for address in addresses:
                if address in found:
                    report.error(place, f"duplicate resolver {clip(str(address))}")
                elif (address.scheme, address.host, address.port) in self._own_addresses():
                    report.error(
                        place,
                        f"{clip(str(address))} is this server itself: its questions would come back; write another",
                    )
                else:
                    resolver = self._resolver(place, address)
                    has_fault = has_fault or resolver is None
                    if resolver is not None:
                        found[address] = resolver
                        if address.is_secure if section.trust_ad is None else section.trust_ad:
                            trusted.add(resolver[0])
        if not found or has_fault:
            return None
        group = tuple([one for one, _ in found.values()])
        protection = settings.rebind_protection if is_default else "off"
        guarded = frozenset([one for one in group if protection == "all" or (protection == "public" and one.is_public)])
        means = repr((list(found), [state for _, state in found.values()], settings.min_ttl, settings.max_ttl,
                      settings.max_negative_ttl, guarded and (protection, sorted(self.unguarded)),
                      [one in trusted for one in group]))  # fmt: skip
        return Group(group, blake2b(means.encode(), digest_size=8).digest(), guarded, frozenset(trusted))

    def _resolver(self, place: Path, address: ResolverAddress) -> tuple[Resolver, str] | None:
        """Return a resolver, and the state of the file of its CAs; None, with errors, if it cannot be asked."""
        compilation = self._compilation
        tls: ssl.SSLContext | None = None
        state = ""
        if address.is_tls:
            from npserver.tls.compile import client_context
            from npserver.tls.named_file import named_file

            tls = client_context(compilation, place, UpstreamTls(ca=address.ca or None))
            if tls is None:
                return None
            tls.set_alpn_protocols([_ALPN[address.scheme]])
            if address.ca and (file := named_file(compilation, (*place, "ca"), address.ca)) is not None:
                state = repr(CERTIFICATES.of(compilation.context).files.state(file))
        return RESOLVERS.of(compilation.context).get(address, tls, state, key_of(place)), state

    def _own_addresses(self) -> frozenset[tuple[str, str, int]]:
        """Return scheme, IP address and port of the listeners that answer DNS."""
        if self._own is None:
            self._own = frozenset(_listened(self._compilation))
        return self._own


def _listened(compilation: Compilation) -> list[tuple[str, str, int]]:
    found = []
    for _, address, _ in dns_listeners(compilation.config):
        hosts = [address.host]
        if address.is_wildcard:
            hosts = ["127.0.0.1", "::1", *[str(one.ip) for one in interface_addresses()]]
        schemes = [scheme for scheme, listened in _LISTENED.items() if listened == address.scheme]
        for host in hosts:
            try:
                found += [(scheme, str(ip_address(host)), address.port) for scheme in schemes]
            except ValueError:  # a host name
                continue
    return found
