"""The zones of a config with their published names, compiled at the start and again whenever an address has changed.

Compiling anew is simple and right: which zones there are, wildcards and PTR records follow from the records. Done in a
thread, it delays no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.dns.message import codes
from npserver.dns.message.name import WILDCARD, parse_owner
from npserver.dns.zone.reverse import reverse_key
from npserver.nameserver.publish.plan import Plan
from npserver.nameserver.publish.records import Records, caa_of, has_caa, records_for, show_records, show_reverse
from npserver.nameserver.publish.serials import digests, given_serials, serials_of, set_serials
from npserver.nameserver.views import Added, compile_views

if TYPE_CHECKING:
    from npserver.config.schema import Config
    from npserver.dns.zone.tables import Tables
    from npserver.nameserver.publish.state import Published
    from npserver.nameserver.zones.compile import Zones

#: Compiles the tables of all views with these records added.
CompileViews = Callable[[Added], list["Tables"]]


class BuiltZones(Struct, frozen=True):
    """The tables of all views with the published names of one state."""

    tables: list[Tables]
    digests: dict[str, int]  # of the zones with published names, by name
    given: dict[str, int]  # the serials that the config gives to such zones
    numbers: dict[str, int]  # the serials that they have


class Publication:
    """What a config publishes, and its zones."""

    __slots__ = ("_aliases", "_caa", "_config", "_zones", "known", "plan")

    def __init__(self, plan: Plan, config: Config, zones: Zones) -> None:
        self.plan = plan
        #: What the first zones were built of, with their digests and given serials.
        self.known: tuple[Published, dict[str, int], dict[str, int]] | None = None
        self._config = config
        self._zones = zones
        views = (*[view.dns for view in config.dns_views], config.dns)
        #: The names of each view that have CAA records in the config, and those that have a CNAME record.
        self._caa = [_names_with(records, "CAA", "TYPE257") for records in views]
        self._aliases = [_names_with(records, "CNAME", "TYPE5") for records in views]

    def __repr__(self) -> str:
        return f"<Publication of {', '.join([one.text for one in self.plan.names])}>"

    def build(
        self, state: Published, current: Mapping[str, int], compile_anew: CompileViews | None = None
    ) -> BuiltZones:
        """Compile the zones. `current`: the serials that this process serves them with at present."""
        views = zip(self.plan.views, self._caa, self._aliases, strict=True)
        added = [records_for(self.plan, view, state, caa, aliases) for view, caa, aliases in views]
        tables = (compile_anew or self._compile)(added)
        keys = {key for one, records in zip(tables, added, strict=True) for key in _zone_keys(one, records)}
        found = digests(tables, keys)
        given = given_serials(tables, keys)
        numbers = serials_of(found, state.serials, current)
        set_serials(tables, numbers)
        return BuiltZones(tables, found, given, numbers)

    def describe(self, tables: Sequence[Tables], *, will_ask: bool = False) -> list[str]:
        """Return what is published, as text: a line for each name and view.

        `will_ask`: public addresses that are not known will be asked for.
        """
        lines = []
        for name in self.plan.names:
            for view, one, caa in zip(self.plan.views, tables, self._caa, strict=True):
                if (node := one.nodes.get(name.key)) is None:
                    continue
                shown = show_records(name, node.sets)
                if node.sets.keys().isdisjoint((codes.A, codes.AAAA, codes.CNAME)):
                    is_asked = will_ask and not (view.is_private or name.is_local)
                    shown.insert(0, "the address that public_address.ask gives" if is_asked else "no address")
                if has_caa(name, caa) and codes.CNAME not in node.sets:
                    shown += [f"CAA {caa_of(name)[1]} {one}" for one in name.certified_by]
                shown += show_reverse(name, one.nodes)
                to = "" if len(tables) == 1 else f" to {view.name or 'all other clients'}"
                lines.append(f"publishes {name.text}{to}: {', '.join(shown) or 'nothing'}")
        return lines

    def _compile(self, added: Added) -> list[Tables]:
        known = self._config.upstreams
        return compile_views(self._config, self._zones, added, has_upstream=lambda path, name: name in known)


def _names_with(records: Mapping[str, Mapping[str, object]], *types: str) -> frozenset[bytes]:
    """Return the names with records of one of these types."""
    found = set()
    for text, of_name in records.items():
        if any(rtype.upper() in types for rtype in of_name):
            with suppress(ValueError):  # reported where records are compiled
                found.add(parse_owner(text).lower())
    return frozenset(found)


def _zone_keys(tables: Tables, records: Records) -> set[bytes]:
    """Return the zones that have something of these records, PTR records made of them included."""
    keys = set(records)
    for key, sets in records.items():
        if not key.startswith(WILDCARD):
            keys |= {reverse_key(one) for rtype in (codes.A, codes.AAAA) for one in sets.get(rtype, (0, ()))[1]}
    return {tables.nodes[key].zone.key for key in keys if key in tables.nodes}
