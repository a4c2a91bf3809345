"""Compiles `dns_zones`: the apexes of the zones served, and the records of those that are not in the config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct, field

from npserver.dns.message.name import parse_owner, to_text
from npserver.dns.zone.compile import MAX_SET_BYTES
from npserver.errors import clip
from npserver.nameserver.config import DnsZoneSection
from npserver.runtime.compilation import PerCompilation

if TYPE_CHECKING:
    from npserver.config.report import Path, Report
    from npserver.dns.zone.tables import RecordSets
    from npserver.nameserver.zones.zone_file import ZoneRecords
    from npserver.runtime.compilation import Compilation


class Zones(Struct, frozen=True):
    """The zones that the config names."""

    apexes: list[bytes]  # in lower case
    sources: dict[bytes, str] = field(default_factory=dict)  # of zones whose records are elsewhere: what to call that
    sets: Mapping[bytes, RecordSets] = field(default_factory=dict)  # their records, by name


def _compile(compilation: Compilation) -> Zones:
    report, config = compilation.report, compilation.config
    apexes: list[bytes] = []
    sources: dict[bytes, str] = {}
    sets: dict[bytes, RecordSets] = {}
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
                sets.update(records.sets)
    return Zones(apexes, sources, sets)


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
            records = read_zone_file(document.resolve(name), apex, _content)
        except ZoneFileError as error:
            compilation.report.error(path, str(error))
            return None
        document.compiled[key] = records
    for note in records.notes:
        compilation.report.warn(path, note)
    _check_sizes(compilation.report, path, records)
    return records


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _check_sizes(report: Report, path: Path, records: ZoneRecords) -> None:
    for name, of_name in records.sets.items():
        for _, data in of_name.values():
            if sum(map(len, data)) + 12 * len(data) > MAX_SET_BYTES:
                report.error(path, f"{to_text(name)}: more records than a message can hold ({MAX_SET_BYTES} bytes)")
