"""Compiles the keys of `acme` that say where TXT records belong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.address import parse_target
from npserver.config.report import placed
from npserver.dns.message.name import parse_owner, to_text
from npserver.dns.message.tsig import TsigKey
from npserver.errors import clip
from npserver.tls.acme.dns.places import Places, find_places
from npserver.tls.acme.dns.update_server import UpdateServer
from npserver.tls.named_file import DEFAULT_ALGORITHM, is_supported, read_secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.config.report import Path, Report
    from npserver.runtime.compilation import Compilation
    from npserver.tls.acme.config import Acme, DnsUpdate
    from npserver.tls.acme.dns.our_zones import OurZones

PORT = 53
MAX_WAIT_S = 240.0  # each of two waits; an order may take ten minutes


def compile_places(compilation: Compilation, path: Path, acme: Acme, zones: OurZones) -> Callable[[str], Places] | None:
    """Return a function that finds the places of a name's TXT record; None, with errors in the report, if it cannot.

    `path` is that of `acme`.
    """
    server = _update_server(compilation, path, acme.dns_update) if acme.dns_update is not None else None
    if acme.dns_update is not None and server is None:
        return None
    alias = _alias_of(compilation.report, path, acme, zones, server)
    for key in ("dns_alias", "dns_update"):
        if getattr(acme, key) and acme.challenge and "dns" not in acme.challenge:
            compilation.report.warn((*path, key), f"'{key}' has no effect: 'challenge' does not allow dns")
    return None if alias is None else lambda name: find_places(zones, name, alias, server)


def _alias_of(report: Report, path: Path, acme: Acme, zones: OurZones, server: UpdateServer | None) -> str | None:
    """Return the name in `dns_alias`, "" without one; None, with an error in the report, if it cannot be used.

    `server`: of `dns_update`, which may have the name in place of us.
    """
    if not acme.dns_alias:
        return ""
    place = (*path, "dns_alias")
    try:
        name = to_text(parse_owner(acme.dns_alias).lower()).removesuffix(".")
    except ValueError as error:
        report.error(place, f"'dns_alias': {error}")
        return None
    if "*" in name:
        report.error(place, f"'dns_alias': expected one name, got the wildcard {clip(name)}")
        return None
    ends = zones.ends(name)
    if not any(zones.hold(end) or (server is not None and server.zone_of(end) is not None) for end in ends):
        told = "in none of our zones" + (f" ({zones})" if zones.apexes else ", as no rule with handler dns serves one")
        remedy = "write a name in one of our zones, or add its zone to 'dns_zones'"
        if server is not None:
            told = f"in no zone of 'dns_update' ({', '.join(server.zones)}), nor in one of ours"
            remedy = "write a name in one of them"
        if ends != [name]:
            told = f"a CNAME of {clip(ends[0])}, which is {told}" if ends else "a CNAME that leads to no end"
        report.error(place, f"'dns_alias': {clip(name)} is {told}: {remedy}")
        return None
    return name


def _update_server(compilation: Compilation, path: Path, section: DnsUpdate) -> UpdateServer | None:
    """Return the server in `dns_update`; None, with errors in the report, if it cannot be used."""
    report = compilation.report
    place = (*path, "dns_update")
    try:
        address = parse_target(section.server, "tcp", PORT)
        if address.scheme != "tcp" or not address.host:
            raise ValueError(f"updates go over TCP, without a scheme, as in '192.0.2.53:53': {clip(section.server)}")
    except ValueError as error:
        report.error((*place, "server"), f"'server': {error}")
        address = None
    zones = _zones(report, place, section)
    key = _key(compilation, place, section)
    for name, value in (("timeout", section.timeout), ("propagation", section.propagation)):
        if value > MAX_WAIT_S:
            report.error((*place, name), f"'{name}': expected up to {MAX_WAIT_S:g} s, which an order may take at most")
            return None
    if address is None or zones is None or key is None:
        return None
    return UpdateServer(
        address.host, address.port, zones, key, float(section.timeout), float(section.propagation),
        "dns_update.key" if section.key else "dns_update.key_file",
    )  # fmt: skip


def _zones(report: Report, path: Path, section: DnsUpdate) -> tuple[str, ...] | None:
    place, found = (*path, "zone"), []
    texts = placed(place, section.zone)
    for where, text in texts:
        try:
            found.append(to_text(parse_owner(text).lower()).removesuffix("."))
        except ValueError as error:
            report.error(where, f"'zone': {error}")
    if not texts:
        report.error(place, "'zone': expected the zones of the server, got an empty list")
    return tuple(found) if found and len(found) == len(texts) else None


def _key(compilation: Compilation, path: Path, section: DnsUpdate) -> TsigKey | None:
    report = compilation.report
    missing = "'dns_update' needs 'key_file' or 'key'"
    read = read_secret(compilation, path, ("key", section.key), ("key_file", section.key_file), missing)
    if read is None:
        return None
    name = _agreed(report, path, "key_name", section.key_name, read.text.name)
    algorithm = _agreed(report, path, "algorithm", section.algorithm or "", read.text.algorithm)
    if name is None or algorithm is None:
        return None
    if not name:
        report.error((*path, "key_name"), "'key_name' is needed: the name that the server has for the key")
        return None
    algorithm = algorithm or DEFAULT_ALGORITHM
    if not is_supported(compilation, read.where, algorithm):
        return None
    try:
        return TsigKey(parse_owner(name).lower(), read.secret, algorithm)
    except ValueError as error:
        report.error((*path, "key_name"), f"'key_name': {error}")
        return None


def _agreed(report: Report, path: Path, key: str, given: str, found: str) -> str | None:
    """Return what the config or the file of the key says; None, with an error in the report, if they differ."""
    if given and found and given.lower().removesuffix(".") != found.lower().removesuffix("."):
        report.error((*path, key), f"'{key}' is {clip(given)}, but 'key_file' says {clip(found)}: leave '{key}' out")
        return None
    return given or found


def outside_message(places: Places, zones: OurZones) -> str:
    """Return that the CNAMEs of a record lead outside of our zones."""
    ends = ", ".join(map(clip, places.outside))
    return f"{places.record} is a CNAME that leads to {ends}, in none of our zones ({zones}): it is answered elsewhere"
