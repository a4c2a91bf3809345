"""Compiles `dnssec` of `dns_zones`: finds or makes the keys of each signed zone in the store.

In a check nothing is written: keys that are not in the store are made in memory and forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.config.units import parse_seconds
from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner, to_text
from npserver.dns.zone.signing import DAY_S, KEY_TTL_S, MADE_TYPES
from npserver.errors import StoreError, clip
from npserver.nameserver.config import Dnssec, DnsZoneSection
from npserver.nameserver.dnssec.keys import ALGORITHMS
from npserver.nameserver.dnssec.parent import Servers
from npserver.nameserver.dnssec.rollover import MIN_PROPAGATION_S, Timing
from npserver.nameserver.dnssec.service import DnssecService, KeptZone
from npserver.nameserver.dnssec.signer import SignedZone, Signer
from npserver.nameserver.dnssec.state import ZoneState, decode, encode, first_state, store_key
from npserver.nameserver.transfers.peers import PORT, compile_address
from npserver.runtime.compilation import MAY_WRITE
from npserver.store.compile import STORE
from npserver.store.directory import DirectoryStore, finish
from npserver.store.trial import TrialStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from npserver.config.report import Path
    from npserver.dns.zone.tables import Tables
    from npserver.runtime.compilation import Compilation
    from npserver.store.interface import Store

MIN_LIFE_DAYS, MAX_LIFE_DAYS = 3, 60  # of signatures
MIN_ROLL_S = 7 * DAY_S
_MADE = MADE_TYPES | {codes.RRSIG, codes.NSEC, codes.NSEC3}
_REFRESH = slice(-16, -12)  # in the data of an SOA record


def signed_sections(compilation: Compilation, apexes: Sequence[bytes]) -> dict[bytes, tuple[int, Dnssec]]:
    """Return the settings of the zones to sign, by apex, with their index in `dns_zones`."""
    found: dict[bytes, tuple[int, Dnssec]] = {}
    for index, one in enumerate(compilation.config.dns_zones):
        if isinstance(one, DnsZoneSection) and one.dnssec:
            try:
                apex = parse_owner(one.name).lower()
            except ValueError:
                continue  # reported where zones are compiled
            if apex in apexes:
                found.setdefault(apex, (index, Dnssec() if one.dnssec is True else one.dnssec))
    return found


def compile_signer(compilation: Compilation, views: Sequence[Tables], apexes: Sequence[bytes]) -> Signer | None:
    """Return what signs the zones of a config; None if it signs none. What is wrong is reported."""
    sections = signed_sections(compilation, apexes)
    store = STORE.of(compilation) if sections else None
    if store is None:
        return None
    report, context = compilation.report, compilation.context
    may_write = MAY_WRITE.of(context)
    inline: Store = DirectoryStore(store.files, in_threads=False) if may_write else TrialStore(store.files)
    signed: dict[bytes, SignedZone] = {}
    kept: dict[bytes, KeptZone] = {}
    contents = _contents(views)
    notes: dict[bytes, str] = compilation.document.compiled.setdefault("dnssec", {})
    for apex, (index, section) in sections.items():
        path: Path = ("dns_zones", index, "dnssec")
        if getattr(compilation.config.dns_zones[index], "primary", None):
            report.error(path, "the zone has a 'primary': it is signed there, and served here as it is")
            continue
        content = contents[apex]
        if content.fault:
            report.error(path, f"{content.fault}: leave it out")
        if not content.has_ns:
            report.warn(
                path, f"{to_text(apex)} has no NS records: other servers can neither refer to it nor find it signed"
            )
        life_days = _life_days(compilation, path, section)
        rolls = [_roll_s(compilation, (*path, name), getattr(section, name)) for name in ("roll", "roll_zsk")]
        if section.roll_zsk != "manual" and section.keys == "csk":
            report.warn((*path, "roll_zsk"), "no effect: the zone has one key (keys: csk)")
        try:
            state, is_new = _state(inline, apex, section, context.wall_clock())
        except (StoreError, ValueError) as error:
            place = store.files.path(store_key(apex))
            report.error(path, f"the keys of {to_text(apex)} cannot be used, {place}: {error}: restore the file")
            continue
        _check_keys(compilation, path, section, state, store.files.path(store_key(apex)))
        notes.setdefault(apex, "signed, keys are made at the start" if is_new and not may_write else "signed")
        signed[apex] = SignedZone(apex, state, section.denial, life_days, section.withdraw)
        timing, parent = _timing(apex, content, section, sections, views), _parent(compilation, path, section)
        kept[apex] = KeptZone(apex, timing, rolls[0], rolls[1], parent)
    if not signed:
        return None
    compilation.services.append(DnssecService(context, store, kept))
    return Signer(context, store.files, signed)


def _state(store: Store, apex: bytes, section: Dnssec, now: float) -> tuple[ZoneState, bool]:
    """Return the keys of a zone, and whether they were made now. Raises: StoreError, ValueError."""
    key = store_key(apex)
    value = finish(store.get(key))
    if value is not None:
        return decode(value), False
    made = first_state(section.keys, ALGORITHMS[section.algorithm], now)
    if finish(store.compare_and_swap(key, None, encode(made))):
        return made, True
    return decode(finish(store.get(key)) or b""), False  # another process was faster


class _Content(Struct):
    """What the records of a zone say, in all views."""

    max_ttl: int = 0
    has_ns: bool = False
    fault: str = ""  # a record that must not be there


def _contents(views: Sequence[Tables]) -> dict[bytes, _Content]:
    """Return what the records of each zone say."""
    found: dict[bytes, _Content] = {}
    for tables in views:
        for node in tables.nodes.values():
            zone = node.zone
            content = found.setdefault(zone.key, _Content(zone.soa[0]))
            is_apex = node is zone.apex
            for rtype, (ttl, _) in node.sets.items():
                content.max_ttl = max(content.max_ttl, ttl)
                if zone.signing is not None:  # the tables are signed already, in the process that this one comes from
                    continue
                if rtype in _MADE:
                    content.fault = (
                        f"{to_text(node.key)} has a record of type {codes.type_name(rtype)}, which signing makes"
                    )
                elif rtype == codes.DS and is_apex:
                    content.fault = f"{to_text(node.key)} has a DS record, which belongs to the zone above"
            content.has_ns |= is_apex and codes.NS in node.sets
    return found


def _check_keys(compilation: Compilation, path: Path, section: Dnssec, state: ZoneState, place: str) -> None:
    """Report keys in the store that are of another kind than the config says: a change would break the zone."""
    kinds = {"csk" if one.role == "csk" else "ksk-zsk" for one in state.keys}
    algorithms = {word for word, number in ALGORITHMS.items() for one in state.keys if one.algorithm == number}
    for name, given, found in (("keys", section.keys, kinds), ("algorithm", section.algorithm, algorithms)):
        if found != {given}:
            compilation.report.error(
                (*path, name),
                f"the keys of the zone are {', '.join(sorted(found))}, in {place}: write that, or, if the zone above "
                "has no DS record of this one any more, remove the file",
            )


def _life_days(compilation: Compilation, path: Path, section: Dnssec) -> int:
    days = int(section.signature_life / DAY_S)
    if not MIN_LIFE_DAYS <= days <= MAX_LIFE_DAYS:
        compilation.report.error(
            (*path, "signature_life"),
            f"expected {MIN_LIFE_DAYS}d to {MAX_LIFE_DAYS}d, got {section.signature_life / DAY_S:g}d",
        )
        return MIN_LIFE_DAYS
    return days


def _roll_s(compilation: Compilation, path: Path, text: str) -> float | None:
    if text == "manual":
        return None
    try:
        age_s = float(parse_seconds(text))
    except ValueError:
        age_s = 0.0
    if age_s < MIN_ROLL_S:
        compilation.report.error(
            path, f'expected "manual" or the age of a key, at least {MIN_ROLL_S // DAY_S}d, got {clip(text)}'
        )
    return age_s


def _parent(compilation: Compilation, path: Path, section: Dnssec) -> Servers | None:
    """Return where the parent is asked; None if it is not."""
    path = (*path, "parent")
    if section.parent == "manual" or section.withdraw:
        return None
    if section.parent == "auto":
        return Servers()
    if not section.parent:
        compilation.report.error(path, 'expected the addresses of name servers, or "manual"; got an empty list')
    found = [compile_address(compilation, (*path, index), one, PORT) for index, one in enumerate(section.parent)]
    return Servers(tuple([one for one in found if one is not None]))


def _timing(
    apex: bytes,
    content: _Content,
    section: Dnssec,
    sections: Mapping[bytes, tuple[int, Dnssec]],
    views: Sequence[Tables],
) -> Timing:
    """Return how long other servers may know what the zone had."""
    zones = [tables.zones[apex] for tables in views]
    above = [zone.parent for zone in zones if zone.parent is not None]
    has_our_parent = len(above) == len(zones) and all(zone.key in sections for zone in above)
    refresh = max([int.from_bytes(zone.soa[1][0][_REFRESH], "big") for zone in zones])
    return Timing(
        max(MIN_PROPAGATION_S, refresh),
        content.max_ttl,
        KEY_TTL_S if has_our_parent else float(section.ds_ttl),
        has_our_parent=has_our_parent,
    )
