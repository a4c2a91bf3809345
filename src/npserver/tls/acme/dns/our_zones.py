"""What the records of a config say about a name: whether a zone of ours holds it, and where its CNAME leads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner, to_text
from npserver.dns.message.record import parse_data
from npserver.dns.zone.apexes import choose_apexes
from npserver.dns.zone.tables import NO_SETS, RecordSets, ancestors

if TYPE_CHECKING:
    from npserver.config.schema import Config

MAX_CNAMES = 16  # followed from one name


class OurZones(Struct, frozen=True):
    """The zones that the program serves."""

    apexes: frozenset[bytes] = frozenset()
    cuts: frozenset[bytes] = frozenset()  # names in them that are delegated to other servers
    cnames: Mapping[bytes, tuple[bytes, ...]] = {}  # several where views differ

    def hold(self, name: str) -> bool:
        """Whether our servers answer for a name: it lies in a zone, and not at or below a cut."""
        key = _key(name)
        return key is not None and self._hold(key)

    def ends(self, name: str) -> list[str]:
        """Return the names at which the CNAMEs that begin with `name` end: itself, if it is none."""
        found: dict[bytes, None] = {}
        seen: set[bytes] = set()
        waiting = [key for key in (_key(name),) if key is not None]
        while waiting and len(seen) < MAX_CNAMES:
            key = waiting.pop(0)
            if key in seen:
                continue
            seen.add(key)
            if key in self.cnames and self._hold(key):
                waiting += self.cnames[key]
            else:
                found[key] = None
        return [to_text(key).removesuffix(".") for key in found]

    def _hold(self, key: bytes) -> bool:
        for above in ancestors(key):
            if above in self.apexes:
                return True
            if above in self.cuts:
                return False
        return False

    def __str__(self) -> str:
        """Return the names of the zones, for messages."""
        names = sorted(to_text(apex).removesuffix(".") for apex in self.apexes)
        return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def zones_of(config: Config) -> OurZones:
    """Return the zones of a config; none if no rule serves them. What is wrong in them is reported elsewhere."""
    if not any(getattr(type(rule), "uses_dns_ports", False) for rule in config.dispatch):
        return OurZones()
    sets: dict[bytes, RecordSets] = {}
    cnames: dict[bytes, tuple[bytes, ...]] = {}
    for number, records in enumerate([config.dns, *(view.dns for view in config.dns_views)]):
        for text, of_name in records.items():
            key = _key(text)
            if key is None:
                continue
            kinds = {kind.upper(): value for kind, value in of_name.items()}
            if not number:
                sets[key] = {kind: (0, ()) for kind in (codes.SOA, codes.NS) if codes.TYPE_NAMES[kind] in kinds}
            if "CNAME" in kinds and (target := _target(kinds["CNAME"])) is not None:
                cnames[key] = tuple(dict.fromkeys((*cnames.get(key, ()), target)))
    names = [one if isinstance(one, str) else one.name for one in config.dns_zones]
    named = [key for key in map(_key, names) if key is not None]
    apexes, _ = choose_apexes(named, {**dict.fromkeys(named, NO_SETS), **sets}, ())
    cuts = frozenset(key for key, of_name in sets.items() if codes.NS in of_name and key not in apexes)
    return OurZones(frozenset(apexes), cuts, cnames)


def _key(text: str) -> bytes | None:
    try:
        return parse_owner(text).lower()
    except ValueError:
        return None


def _target(value: object) -> bytes | None:
    value = value[0] if isinstance(value, list) and value else value
    try:
        return parse_data(codes.CNAME, value).lower()
    except ValueError:
        return None
