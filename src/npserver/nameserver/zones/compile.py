"""Compiles `dns_zones`: the apexes of the zones served, and the records of those that are not in the config."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct, field

from npserver.dns.message.name import parse_owner, to_text
from npserver.dns.zone.compile import MAX_SET_BYTES
from npserver.dns.zone.content import Content, version_of
from npserver.dns.zone.tables import ancestors
from npserver.errors import clip
from npserver.nameserver.config import DnsZoneSection
from npserver.runtime.compilation import PerCompilation
from npserver.sources.source import SUPPLIED, Source, read_file
from npserver.store.compile import STORE

if TYPE_CHECKING:
    from npserver.config.report import Path, Report
    from npserver.dns.zone.tables import RecordSets
    from npserver.nameserver.zones.service import FileZone
    from npserver.nameserver.zones.zone_file import ReadFile, ZoneRecords
    from npserver.runtime.compilation import Compilation
    from npserver.runtime.context import Context

MAX_FILE_BYTES = 1 << 30


class Zones(Struct, frozen=True):
    """The zones that the config names."""

    apexes: list[bytes]  # in lower case
    sources: dict[bytes, str] = field(default_factory=dict)  # of zones whose records are elsewhere: what to call that
    sets: Mapping[bytes, RecordSets] = field(default_factory=dict)  # their records, by name
    changing: Mapping[bytes, Content] = field(default_factory=dict)  # the records of those that may change, by apex

    def place_of(self, key: bytes) -> str | None:
        """Return what to call the place of the records of a name's zone; None if they are in the config."""
        return next((self.sources.get(above) for above in ancestors(key) if above in self.apexes), None)


def _compile(compilation: Compilation) -> Zones:
    report, config = compilation.report, compilation.config
    apexes: list[bytes] = []
    sources: dict[bytes, str] = {}
    sets: dict[bytes, RecordSets] = {}
    files: dict[bytes, FileZone] = {}
    for index, one in enumerate(config.dns_zones):
        section = DnsZoneSection(name=one) if isinstance(one, str) else one
        path: Path = ("dns_zones", index) if isinstance(one, str) else ("dns_zones", index, "name")
        try:
            apex = parse_owner(section.name).lower()
        except ValueError as error:
            report.error(path, str(error))
            continue
        if apex in apexes:
            report.error(path, f"{clip(section.name)} is given twice")
            continue
        apexes.append(apex)
        if section.file is not None:
            sources[apex] = f"the file {clip(section.file)} (dns_zones[{index}].file)"
            records = _read(compilation, ("dns_zones", index, "file"), apex, section.file)
            if records is not None:
                from npserver.nameserver.zones.service import FileZone  # it needs dnspython

                sets.update(records.sets)
                files[apex] = FileZone(
                    apex, next(iter(records.files)), f"dns_zones[{index}].file", records.sets, dict(records.files),
                    version_of(records.sets),
                )  # fmt: skip
    if files and (store := STORE.of(compilation)) is not None:
        from npserver.nameserver.zones.service import ZoneService

        context = compilation.context
        compilation.services.append(ZoneService(context, store, [*files.values()], reader(context)))
    return Zones(apexes, sources, sets, {apex: one.content for apex, one in files.items()})


#: The zones of a config.
ZONES = PerCompilation(_compile)


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
