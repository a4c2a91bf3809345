"""Compiles the zones of a config: those of each view, then those of all other clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from npserver.dns.zone.compile import HasUpstream, ReportProblem, Settings, compile_tables
from npserver.dns.zone.tables import RecordSets, Tables

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.config.schema import Config
    from npserver.nameserver.zones.compile import Zones

T = TypeVar("T")

#: Record sets to add to those of the config, by name; for each view, the last is for all other clients.
Added = Sequence[Mapping[bytes, RecordSets]]


def compile_views(
    config: Config,
    zones: Zones,
    added: Added,
    *,
    has_upstream: HasUpstream,
    report: ReportProblem = lambda path, message: None,
    warn: ReportProblem = lambda path, message: None,
) -> list[Tables]:
    """Return the tables of the views, then those of all other clients. They hold nothing of one process.

    Args:
        zones: that the config names, with the records of those that are not in it.
        added: () if there is nothing to add.
        has_upstream, report, warn: as those of `dns.zone.compile`; paths begin at the config.
    """
    sections = [(("dns_views", index, "dns"), view.dns) for index, view in enumerate(config.dns_views)]
    found = []
    for index, (at, records) in enumerate([*sections, (("dns",), config.dns)]):
        settings = Settings(
            config.dns_ttl,
            zones.apexes,
            elsewhere=zones.sources,
            contents=zones.contents,
            auto_ptr=config.dns_auto_ptr,
            added=added[index] if added else {},
            has_upstream=_below(at, has_upstream),
            warn=_below(at, warn),
        )
        found.append(compile_tables(records, settings, _below(at, report)))
    return found


def _below(at: Path, call: Callable[[Path, str], T]) -> Callable[[Path, str], T]:
    """Return a function that is called with paths below `at`."""
    return lambda path, text: call((*at, *path), text)
