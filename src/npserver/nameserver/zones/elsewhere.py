"""Compiles zones that other servers have to do with: `primary`, and the services for it and for `notify`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from npserver.dns.message.name import to_text
from npserver.dns.zone.content import Content, version_of
from npserver.errors import StoreError
from npserver.nameserver.transfers.kept import KEPT, KeptZone
from npserver.nameserver.transfers.peers import Peer, compile_primaries
from npserver.nameserver.transfers.secondary import SecondaryZone
from npserver.nameserver.transfers.timers import Timers
from npserver.nameserver.zones.history import ZoneHistory
from npserver.nameserver.zones.replica import HELD
from npserver.runtime.pubsub import Withdrawing
from npserver.runtime.zone_states import SECONDARIES, forget_secondaries
from npserver.store.compile import STORE

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.nameserver.config import DnsPrimary, DnsZoneSection
    from npserver.runtime.compilation import Compilation

_COUNTERS = (
    *("dns.transfers.received", "dns.transfers.failed"),
    *("dns.notify.received", "dns.notify.sent", "dns.notify.failed"),
)


def compile_secondary(
    compilation: Compilation, path: Path, apex: bytes, given: str | DnsPrimary | list[str | DnsPrimary]
) -> SecondaryZone:
    """Return a zone that is transferred from primaries, with the records that are known of it. `path`: of the zone."""
    primaries = compile_primaries(compilation, (*path, "primary"), given)
    key, held = f"dns_zones[{path[-1]}].primary", HELD.of(compilation.context).get(apex)
    kept = KEPT.of(compilation.context).setdefault(apex, KeptZone(apex))
    if held is not None:
        history = ZoneHistory(held.history)
        zone = SecondaryZone(apex, key, primaries, kept, held.content, held.version, held.checked_at, history)
    else:
        content, checked_at = _kept(compilation, path, apex, kept)
        zone = SecondaryZone(apex, key, primaries, kept, content, version_of(content), checked_at)
    # The tables are compiled once for all processes, of what is known then.
    zone.base = compilation.document.compiled.setdefault(f"secondary zone:{to_text(apex)}", zone.content)
    return zone


def _kept(compilation: Compilation, path: Path, apex: bytes, kept: KeptZone) -> tuple[Content, float]:
    """Return the records of the last run, unless they have expired, and when they were confirmed."""
    store = STORE.of(compilation)
    if store is None:
        return {}, 0.0
    try:
        found = kept.read(store.files.read)
    except StoreError as error:
        compilation.report.warn((*path, "primary"), f"the zone of the last run is not known: {error}")
        return {}, 0.0
    if found is None:
        return {}, 0.0
    content, checked_at = found
    is_over = checked_at + Timers.of(content, apex).expire_s < compilation.context.wall_clock()
    return ({} if is_over else content), checked_at


def add_services(
    compilation: Compilation,
    secondaries: Mapping[bytes, SecondaryZone],
    notified: Mapping[bytes, Sequence[Peer]],
    signed: Collection[bytes],
) -> None:
    """Add the services that transfer zones, and that tell others of changes. `signed`: those that are signed here."""
    context = compilation.context
    if secondaries or notified:
        for name in _COUNTERS:  # what the controller counts is shown by workers, who have to know of it
            context.row.slot(name)
    if secondaries and (store := STORE.of(compilation)) is not None:
        from npserver.nameserver.transfers.secondaries import SecondaryService

        compilation.services.append(SecondaryService(context, store, [*secondaries.values()]))
    elif context.pubsub.latest.get(SECONDARIES):
        compilation.services.append(Withdrawing(context.pubsub, forget_secondaries))
    if notified:
        from npserver.nameserver.transfers.notifying import NotifyService

        compilation.services.append(NotifyService(context, notified, signed))


def check_notified(compilation: Compilation, path: Path, section: DnsZoneSection) -> None:
    """Warn of servers that are told of the changes of a zone, but may not transfer them. `path`: of the zone."""
    allowed = section.allow_transfer
    is_allowed = any(getattr(rule, "allow_transfer", None) for rule in compilation.config.dispatch)
    if not allowed and (allowed is not None or not is_allowed):
        message = "those that are told of changes may not transfer them: write 'allow_transfer'"
        compilation.report.warn((*path, "notify"), message)
