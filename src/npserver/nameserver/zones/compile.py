"""Compiles `dns_zones`: the apexes of the zones served, and the records of those that are not in the config."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct, field

from npserver.config.report import key_of
from npserver.dns.message.name import parse_owner, to_text
from npserver.dns.zone.compile import MAX_SET_BYTES, Settings, compile_tables
from npserver.dns.zone.content import Content, version_of
from npserver.dns.zone.presigned import is_signed
from npserver.dns.zone.tables import ancestors
from npserver.errors import StoreError, clip
from npserver.nameserver.config import UPDATES_MAX_SIZE, DnsZoneSection
from npserver.nameserver.transfers.peers import Peer, compile_notified
from npserver.nameserver.updates.compile import compile_policies
from npserver.nameserver.updates.policy import ZoneRules
from npserver.nameserver.zones.elsewhere import add_services, check_notified, compile_secondary
from npserver.nameserver.zones.messages import decode_kept
from npserver.runtime.compilation import PerCompilation
from npserver.sources.source import SUPPLIED, Source, read_file
from npserver.store.compile import PATH as STORE_PATH
from npserver.store.compile import STORE
from npserver.store.directory import DirectoryStore, finish

if TYPE_CHECKING:
    from npserver.config.report import Path, Report
    from npserver.nameserver.transfers.secondary import SecondaryZone
    from npserver.nameserver.zones.changing_zone import ChangingZone
    from npserver.nameserver.zones.zone_file import ReadFile, Stamp, ZoneRecords
    from npserver.runtime.compilation import Compilation
    from npserver.runtime.context import Context

MAX_FILE_BYTES = 1 << 30
MAX_UPDATES_SIZE = 1 << 30  # of `updates_max_size`


class Zones(Struct, frozen=True):
    """The zones that the config names."""

    apexes: list[bytes]  # in lower case
    sources: dict[bytes, str] = field(default_factory=dict)  # of zones whose records are elsewhere: what to call that
    contents: Mapping[bytes, Content] = field(default_factory=dict)  # their records, by apex
    #: The records of those that may change, by apex: those of their files or the config, and what is served at first.
    changing: Mapping[bytes, tuple[Content, Content]] = field(default_factory=dict)
    updated: frozenset[bytes] = frozenset()  # the apexes of those that may be updated
    primaries: Mapping[bytes, list[Peer]] = field(default_factory=dict)  # of those that are transferred from others

    def place_of(self, key: bytes) -> str | None:
        """Return what to call the place of the records of a name's zone; None if they are in the config alone."""
        apex = next((above for above in ancestors(key) if above in self.apexes), b"")
        return self.sources.get(apex, "the config and updates of it" if apex in self.updated else None)


def _compile(compilation: Compilation) -> Zones:
    report, config = compilation.report, compilation.config
    apexes: list[bytes] = []
    sources: dict[bytes, str] = {}
    found: dict[bytes, Content] = {}
    changing: dict[bytes, ChangingZone] = {}
    rules: dict[bytes, ZoneRules] = {}
    of_config: list[tuple[int, bytes]] = []
    secondaries: dict[bytes, SecondaryZone] = {}
    notified: dict[bytes, list[Peer]] = {}
    signed: list[bytes] = []  # of those
    for index, one in enumerate(config.dns_zones):
        section = DnsZoneSection(name=one) if isinstance(one, str) else one
        place: Path = ("dns_zones", index)
        path: Path = place if isinstance(one, str) else (*place, "name")
        try:
            apex = parse_owner(section.name).lower()
        except ValueError as error:
            report.error(path, str(error))
            continue
        if apex in apexes:
            report.error(path, f"{clip(section.name)} is given twice")
            continue
        apexes.append(apex)
        if section.notify != [] and (peers := compile_notified(compilation, (*place, "notify"), section.notify)):
            notified[apex] = peers
            check_notified(compilation, place, section)
            if section.dnssec:
                signed.append(apex)
        if section.primary is not None:
            sources[apex] = f"the primary server (dns_zones[{index}].primary)"
            _check_copied(report, place, section)
            secondaries[apex] = compile_secondary(compilation, place, apex, section.primary)
            found[apex] = secondaries[apex].base
            continue
        if section.file is not None:
            sources[apex] = f"the file {clip(section.file)} (dns_zones[{index}].file)"
            records = _read(compilation, ("dns_zones", index, "file"), apex, section.file)
            if records is None:
                STORE.of(compilation)  # it would be used, if there were a zone
                continue
            found[apex] = records.sets
            changing[apex] = _changing(index, apex, records.sets, records.files)
            changing[apex].unsigned_for = _check_unsigned(report, place, section, apex, records.sets)
        if (updates := _rules(compilation, index, apex, section)) is not None:
            rules[apex] = updates
            if apex not in changing:
                of_config.append((index, apex))
    for index, apex in of_config:
        changing[apex] = _changing(index, apex, _records_of(compilation, apex, apexes), {})
    if changing and (store := STORE.of(compilation)) is not None:
        from npserver.nameserver.zones.service import ZoneService

        context = compilation.context
        for zone in changing.values():
            _resume(compilation, store, zone)
        service = ZoneService(context, store, [*changing.values()], reader(context))
        compilation.services.append(service)
        if rules:
            from npserver.nameserver.updates.service import UpdateService

            compilation.services.append(UpdateService(context, service, rules))
    add_services(compilation, secondaries, notified, signed)
    contents = {apex: (one.base, one.content) for apex, one in changing.items()}
    contents |= {apex: (one.base, one.content) for apex, one in secondaries.items()}
    primaries = {apex: one.primaries for apex, one in secondaries.items()}
    return Zones(apexes, sources, found, contents, frozenset(rules), primaries)


#: The zones of a config.
ZONES = PerCompilation(_compile)


def _check_unsigned(report: Report, place: Path, section: DnsZoneSection, apex: bytes, content: Content) -> str:
    """Return the key that needs a file without signatures; it is reported if the file has them."""
    keys = [key for key, value in (("dnssec", section.dnssec), ("updates", section.updates)) if value]
    if keys and is_signed(content, apex):
        report.error(
            (*place, keys[0]),
            f"{clip(section.file or '')} is signed already (RRSIG records): leave {keys[0]!r} out, as its records are "
            "served as they are, or take a file that is not signed",
        )
    return key_of((*place, keys[0])) if keys else ""


def _changing(index: int, apex: bytes, base: Content, files: Mapping[str, Stamp]) -> ChangingZone:
    from npserver.nameserver.zones.changing_zone import ChangingZone  # few configs have zones that change

    return ChangingZone(apex, f"dns_zones[{index}]", base, version_of(base), next(iter(files), ""), dict(files))


def _check_copied(report: Report, place: Path, section: DnsZoneSection) -> None:
    """Report keys that do not go with `primary`."""
    if section.file is not None:
        report.error((*place, "primary"), "a zone has 'file' or 'primary': leave one of them out")
    if section.updates:
        report.error((*place, "updates"), "'updates' has no effect with 'primary': that server takes updates")
    if section.updates_max_size != UPDATES_MAX_SIZE:
        report.warn((*place, "updates_max_size"), "'updates_max_size' has no effect with 'primary'")


def _rules(compilation: Compilation, index: int, apex: bytes, section: DnsZoneSection) -> ZoneRules | None:
    """Return who may update a zone, and how large that may be; None if nobody may."""
    path = ("dns_zones", index)
    if section.updates_max_size > MAX_UPDATES_SIZE:
        most = f"expected at most {MAX_UPDATES_SIZE >> 20}m, which all processes hold in memory"
        compilation.report.error((*path, "updates_max_size"), f"'updates_max_size': {most}")
    if section.updates:
        policies = compile_policies(compilation, (*path, "updates"), apex, section.updates)
        return ZoneRules(policies, section.updates_max_size)
    if section.updates_max_size != UPDATES_MAX_SIZE:
        compilation.report.warn((*path, "updates_max_size"), "'updates_max_size' has no effect without 'updates'")
    return None


def _resume(compilation: Compilation, store: DirectoryStore, zone: ChangingZone) -> None:
    """Begin with the serial and the updates of the last run, which the store has; they are read once."""
    from npserver.nameserver.zones.changing_zone import newer, resumed
    from npserver.nameserver.zones.journal import Journal

    key = f"resumed zone:{zone.name}"
    content: Content | None = compilation.document.compiled.get(key)
    if content is None:
        reading = DirectoryStore(store.files, in_threads=False)
        journal = Journal(reading, zone.apex)
        try:
            overlay = finish(journal.load())
            kept = newer(decode_kept(finish(reading.get(zone.store_key))), journal.last)
        except StoreError as error:
            compilation.report.warn(STORE_PATH, f"serial and updates of {zone.name} are not known: {error}")
            return
        content = compilation.document.compiled[key] = resumed(zone.base, zone.apex, kept, overlay)
    zone.content, zone.version = content, version_of(content)


def _records_of(compilation: Compilation, apex: bytes, apexes: list[bytes]) -> Content:
    """Return the records that the config has of a zone, for all clients but those of views."""
    config = compilation.config
    tables = compile_tables(config.dns, Settings(config.dns_ttl, apexes), lambda path, message: None)
    zone = tables.zones[apex]
    return {
        node.key: {rtype: one for rtype, one in node.sets.items() if one[1]}  # those of an ALIAS are not known yet
        for node in tables.nodes.values()
        if node.zone is zone and node.sets
    }


def _read(compilation: Compilation, path: Path, apex: bytes, name: str) -> ZoneRecords | None:
    """Return the records of a zone file; None if it cannot be used, which is reported. It is read once."""
    document = compilation.document
    key = f"zone file:{to_text(apex)}:{name}"
    records: ZoneRecords | None = document.compiled.get(key)
    if records is None:
        from npserver.nameserver.zones.zone_file import ZoneFileError, read_zone_file

        try:
            records = read_zone_file(os.path.abspath(document.resolve(name)), apex, reader(compilation.context))
        except ZoneFileError as error:
            compilation.report.error(path, str(error))
            return None
        document.compiled[key] = records
    for note in records.notes:
        compilation.report.warn(path, note)
    _check_sizes(compilation.report, path, records)
    return records


def reader(context: Context) -> ReadFile:
    """Return what reads zone files: the master supplies those that this process may not read."""
    files = SUPPLIED.of(context)

    def read(path: str) -> bytes:
        if files is not None:
            files.used.add(path)
        return read_file(Source("file", path, MAX_FILE_BYTES), files)[1]

    return read


def _check_sizes(report: Report, path: Path, records: ZoneRecords) -> None:
    for name, of_name in records.sets.items():
        for _, data in of_name.values():
            if sum(map(len, data)) + 12 * len(data) > MAX_SET_BYTES:
                report.error(path, f"{to_text(name)}: more records than a message can hold ({MAX_SET_BYTES} bytes)")
