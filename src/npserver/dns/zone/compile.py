"""Compiles and checks the records of the config, giving the tables of one view.

Data is checked and encoded here; answers are compiled when first asked for, so that 100,000 names load fast. Called
by `nameserver.compile`, once per view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from zlib import crc32

from npserver.dns.message import codes
from npserver.dns.message.name import ROOT, WILDCARD, parent, parse_owner
from npserver.dns.message.record import PARSED_TYPES, parse_data, parse_ipv4, parse_ttl, parse_type, quotes_in
from npserver.dns.zone.apexes import choose_apexes, is_covered
from npserver.dns.zone.content import Content
from npserver.dns.zone.presigned import attach_proofs, without_proofs
from npserver.dns.zone.redirections import Redirections
from npserver.dns.zone.reverse import is_local, reverse_key
from npserver.dns.zone.tables import (
    NO_SETS,
    AliasSet,
    Node,
    RecordSet,
    RecordSets,
    Tables,
    UpstreamSet,
    Zone,
    ancestors,
)
from npserver.errors import clip
from npserver.guess import get_close_matches

Path = tuple[str | int, ...]
#: Called with each problem: its path below the records, and a message for the operator.
ReportProblem = Callable[[Path, str], None]
#: Called with a path and the name of an upstream: returns whether it exists, and reports it if not.
HasUpstream = Callable[[Path, str], bool]

MAX_UPSTREAM_TTL_S = 5  # of addresses that follow health checks: clients must not cache them for long
ALIAS = "ALIAS"  # a type of ours: what it makes are A and AAAA records
MAX_SET_BYTES = 60_000  # of one record set in wire form, so that it fits a message

#: Refresh, retry and expire of an SOA made here.
_SOA_TIMES = b"".join([seconds.to_bytes(4, "big") for seconds in (3600, 600, 604_800)])


@dataclass(slots=True)
class Settings:
    """Settings for all names of a view.

    Args:
        ttl: default TTL in seconds.
        zones: keys of the apexes that the config names.
        elsewhere: those of them whose records are not in the config, with what to call the place where they are.
        contents: the records of these zones, by apex.
        auto_ptr: whether to make PTR records from addresses.
        added: further record sets, by name: of names in zones of ours, where the config has none of their type.
        has_upstream: whether there is an upstream for `upstream://` addresses.
        warn: called with each value that is valid, but hardly meant.
    """

    ttl: int
    zones: Sequence[bytes] = ()
    elsewhere: Mapping[bytes, str] = field(default_factory=dict)
    contents: Mapping[bytes, Content] = field(default_factory=dict)
    auto_ptr: bool = False
    added: Mapping[bytes, RecordSets] = field(default_factory=dict)
    has_upstream: HasUpstream = lambda path, name: False
    warn: ReportProblem = lambda path, message: None


def compile_tables(records: Mapping[str, Mapping[str, object]], settings: Settings, report: ReportProblem) -> Tables:
    """Return the tables of records, given by name and type. Invalid ones are reported and left out."""
    return _Compilation(settings, report).run(records)


class _Compilation:
    """One compilation: first the record sets by name, then the nodes and zones."""

    def __init__(self, settings: Settings, report: ReportProblem) -> None:
        self.settings = settings
        self.report = report
        self.sets: dict[bytes, dict[int, RecordSet]] = {}
        self.upstream_sets: list[tuple[bytes, int, int, str]] = []
        self.aliases: list[tuple[bytes, bytes, int]] = []  # name, target, TTL
        self.redirections = Redirections()
        self.standalone: list[bytes] = []  # reverse names of public addresses, each a zone of its own

    def run(self, records: Mapping[str, Mapping[str, object]]) -> Tables:
        """Compile `records` and return the tables."""
        spelled: dict[bytes, str] = {}
        for text, of_name in records.items():
            try:
                key = parse_owner(text).lower()
            except ValueError as error:
                self.report((text,), str(error))
                continue
            if key in spelled:
                self.report((text,), f"{clip(text)} is the same name as {clip(spelled[key])}")
                continue
            spelled[key] = text
            if (place := self._place_of(key)) is not None:
                self.report((text,), f"the records of its zone are in {place}: write it there")
                continue
            self._add_name(text, key, of_name)
        self._check_aliases(spelled, records)
        if self.redirections:
            apexes, _ = choose_apexes(self.settings.zones, self.sets, ())
            self.redirections.check(self.sets, spelled, apexes, self.report, self.settings.warn)
        for apex, content in self.settings.contents.items():
            self._add_content(apex, content)
        if self.settings.added:
            self._add_to_zones({key: records[text].get("TTL") for key, text in spelled.items()})
        if self.settings.auto_ptr:
            self._add_reverse()
        return self._build()

    def _add_content(self, apex: bytes, content: Content) -> None:
        """Add the records of a zone that are not in the config, but those of names in another zone of ours below."""
        below = [one for one in self.settings.zones if len(one) > len(apex) and apex in ancestors(one)]
        self.redirections.note(content)
        for key, of_name in without_proofs(content).items():
            if not below or not any(one in below for one in ancestors(key)):
                self.sets[key] = dict(of_name)

    def _place_of(self, key: bytes) -> str | None:
        """Return what to call the place of a name's zone, if its records are not in the config."""
        if not self.settings.elsewhere:
            return None
        for above in ancestors(key):
            if above in self.settings.zones:
                return self.settings.elsewhere.get(above)
        return None

    def _add_name(self, text: str, key: bytes, of_name: Mapping[str, object]) -> None:  # hot: dns-load
        ttl = self.settings.ttl
        if "TTL" in of_name:
            try:
                ttl = parse_ttl(of_name["TTL"])
            except ValueError as error:
                self.report((text, "TTL"), str(error))
        self.sets[key] = sets = {}
        is_plain = True
        for type_text, value in of_name.items():
            if type_text == "A" and type(value) is str and value[:1].isdigit():
                try:
                    sets[codes.A] = (ttl, (parse_ipv4(value),))
                except ValueError as error:
                    self.report((text, "A"), f"A: {error}")
            elif type_text != "TTL":
                is_plain = False
                self._add_set(text, key, type_text, value, ttl)
        if is_plain:
            return
        if codes.CNAME in sets or codes.SOA in sets or codes.DNAME in sets:
            self._check_single(text, of_name, sets)
            self.redirections.note({key: sets})
        if codes.NS in sets and key.startswith(WILDCARD):
            self.report((text, "NS"), "a wildcard cannot delegate (RFC 4592 §4.2)")

    def _add_set(self, text: str, key: bytes, type_text: str, value: object, ttl: int) -> None:
        path: Path = (text, type_text)
        if type_text.upper() == ALIAS:
            self._add_alias(path, key, value, ttl)
            return
        try:
            rtype = parse_type(type_text)
        except ValueError as error:
            close = get_close_matches(type_text.upper(), [*PARSED_TYPES, ALIAS, "TTL"], 1)
            self.report(path, f"{error}{f', did you mean {close[0]}?' if close else ''}")
            return
        if rtype in self.sets[key]:
            self.report(path, f"{type_text} is given twice")
            return
        if rtype in (codes.A, codes.AAAA) and isinstance(value, str) and value.startswith("upstream://"):
            name = value.removeprefix("upstream://")
            if self.settings.has_upstream(path, name):
                self.upstream_sets.append((key, rtype, min(ttl, MAX_UPSTREAM_TTL_S), name))
            return
        data: dict[bytes, None] = {}
        items = [(path, value)] if not isinstance(value, list) else [((*path, i), item) for i, item in enumerate(value)]
        if not items:
            self.report(path, "expected records, got an empty list")
        for place, item in items:
            try:
                one = parse_data(rtype, item)
            except ValueError as error:
                self.report(place, f"{type_text}: {error}")
                continue
            if one in data:
                self.report(place, f"{type_text}: {clip(item)} is given twice")
            data[one] = None
            if rtype in (codes.TXT, codes.CAA) and (advice := quotes_in(item)):
                self.settings.warn(place, f"{type_text}: {advice}")
        if sum(map(len, data)) + 12 * len(data) > MAX_SET_BYTES:
            self.report(path, f"the {len(data)} records are more than a message can hold ({MAX_SET_BYTES} bytes)")
        if data:
            self.sets[key][rtype] = (ttl, tuple(data))

    def _add_alias(self, path: Path, key: bytes, value: object, ttl: int) -> None:
        """Add an ALIAS, which makes the addresses of a name (`dns.zone.aliases`)."""
        if isinstance(value, list):
            self.report(path, "ALIAS: a name can have only one, got a list")
            return
        try:
            target = parse_data(codes.CNAME, value).lower()
        except ValueError as error:
            self.report(path, f"ALIAS: {error}")
            return
        if target == key:
            self.report(path, f"ALIAS: {clip(value)} is the name itself: write another one, or A and AAAA records")
            return
        self.aliases.append((key, target, ttl))

    def _check_aliases(self, spelled: Mapping[bytes, str], records: Mapping[str, Mapping[str, object]]) -> None:
        """Check that names with an ALIAS have no other source of addresses."""
        seen: set[bytes] = set()
        for key, _, _ in self.aliases:
            text = spelled[key]
            given = {name.upper(): name for name in records[text]}
            path: Path = (text, given[ALIAS])
            if key in seen:
                self.report(path, "ALIAS is given twice")
            seen.add(key)
            if beside := next((given[name] for name in ("A", "AAAA", "CNAME") if name in given), None):
                self.report(
                    path, f"ALIAS: it makes the addresses of the name, which has {beside}: leave one of them out"
                )

    def _check_single(self, text: str, of_name: Mapping[str, object], sets: RecordSets) -> None:
        """Check that a name has one CNAME and no other records, and at most one SOA (RFC 1034 §3.6.2) and DNAME."""
        for rtype in (codes.CNAME, codes.SOA, codes.DNAME):
            if rtype in sets and len(sets[rtype][1]) > 1:
                self.report((text, codes.type_name(rtype)), f"{codes.type_name(rtype)}: a name can have only one")
        others = [name for name in of_name if name.upper() not in ("CNAME", "TTL")]
        if codes.CNAME in sets and others:
            self.report(
                (text, "CNAME"), f"a name with a CNAME can have no other records, but has {others[0]} (RFC 1034 §3.6.2)"
            )

    def _add_to_zones(self, ttls: Mapping[bytes, object]) -> None:
        """Add the record sets of `Settings.added`. `ttls`: what the config says of names, for all of their records."""
        apexes, _ = choose_apexes(self.settings.zones, self.sets, ())
        made = {(key, rtype) for key, rtype, _, _ in self.upstream_sets}
        made |= {(key, rtype) for key, _, _ in self.aliases for rtype in (codes.A, codes.AAAA)}
        for key, added in self.settings.added.items():
            if not is_covered(key, apexes) or codes.CNAME in self.sets.get(key, NO_SETS):
                continue
            if self._place_of(key) is not None:
                continue
            sets = self.sets.setdefault(key, {})
            ttl: int | None = None
            with suppress(ValueError):
                ttl = parse_ttl(ttls.get(key))
            for rtype, (default_ttl, data) in added.items():
                if rtype not in sets and (key, rtype) not in made:
                    sets[rtype] = (default_ttl if ttl is None else ttl, data)

    def _add_reverse(self) -> None:
        """Add PTR records for all addresses whose reverse names are not in the config."""
        found: dict[bytes, dict[bytes, int]] = {}
        for key, sets in self.sets.items():
            if key.startswith(WILDCARD):
                continue
            for rtype in (codes.A, codes.AAAA):
                ttl, data = sets.get(rtype, (0, ()))
                for address in data:
                    reverse = reverse_key(address)
                    found.setdefault(reverse, {}).setdefault(key, ttl)
                    if not is_local(address):
                        self.standalone.append(reverse)
        for reverse, names in found.items():
            if reverse not in self.sets and self.redirections.above(reverse) is None:
                self.sets[reverse] = {codes.PTR: (min(names.values()), tuple(names))}

    # ── nodes and zones ──

    def _build(self) -> Tables:
        """Make the nodes and zones of all record sets."""
        tables = Tables()
        nodes = tables.nodes
        sets = self.sets
        apexes, tables.derived = choose_apexes(self.settings.zones, sets, self.standalone)
        for key in apexes:
            sets.setdefault(key, {})
        for key, of_name in sets.items():
            nodes[key] = Node(key, of_name)
        for key in apexes:
            nodes[key].zone = zone = Zone(nodes[key], self._soa(key, sets[key]))
            nodes[key].is_attached = True
            if codes.DNAME in nodes[key].sets:
                nodes[key].wildcard = nodes[key]
            tables.zones[key] = zone
        for key in list(nodes):
            if key in apexes:
                self._link_parent(tables, key)
            else:
                attach(nodes, key)
        self._set_serials(tables)
        tables.upstream_sets += [
            UpstreamSet(nodes[key], rtype, ttl, upstream) for key, rtype, ttl, upstream in self.upstream_sets
        ]
        for key, target, ttl in self.aliases:
            node = nodes[key]
            node.sets = {**node.sets, codes.A: (ttl, ()), codes.AAAA: (ttl, ())}  # not known yet
            tables.alias_sets.append(AliasSet(node, target, ttl))
        tables.longest_key = max(map(len, nodes), default=1)
        for key, content in self.settings.contents.items():
            attach_proofs(tables, tables.zones[key], content)
        return tables

    def _link_parent(self, tables: Tables, key: bytes) -> None:
        """Make the nodes between a zone and the zone above it, if that is ours too, and note that as its parent."""
        above = key
        while above != ROOT:
            above = parent(above)
            if above in tables.zones:
                direct = parent(key)
                tables.zones[key].parent = attach(tables.nodes, direct).zone
                return

    def _soa(self, key: bytes, of_name: dict[int, RecordSet]) -> RecordSet:
        """Return a zone's SOA: that of the config, or a default one, whose serial `_set_serials` fills in."""
        if codes.SOA in of_name:
            return of_name[codes.SOA]
        servers = of_name.get(codes.NS)
        mname = servers[1][0] if servers else b"\x02ns" + key
        rname = b"\x0ahostmaster" + key
        if len(rname) > 255:
            mname = rname = key
        ttl = self.settings.ttl
        return ttl, (mname + rname + bytes(4) + _SOA_TIMES + ttl.to_bytes(4, "big"),)

    def _set_serials(self, tables: Tables) -> None:
        """Derive the serials of default SOAs from the zones' content: equal in all processes, new after each change."""
        made = {
            key: zone
            for key, zone in tables.zones.items()
            if zone.has_generated_soa and key not in self.settings.elsewhere  # those are not served without an SOA
        }
        if not made:
            return
        sums = content_sums(tables)
        for key, zone in made.items():
            zone.set_serial((sums[key] & 0xFFFFFFFF) or 1)


def content_sums(tables: Tables) -> dict[bytes, int]:
    """Return a checksum of the content of each zone, equal in all processes."""
    sums = dict.fromkeys(tables.zones, 0)
    for key, node in tables.nodes.items():
        seed = crc32(key)
        for rtype, (ttl, data) in node.sets.items():
            sums[node.zone.key] += crc32(b"".join(data), seed ^ rtype ^ ttl << 8)
    return sums


def attach(nodes: dict[bytes, Node], key: bytes) -> Node:  # hot: dns-load
    """Return the node of a name, with the zone and cut of the node above. Nodes that are missing are made."""
    node = nodes.get(key)
    if node is None:
        node = nodes[key] = Node(key, NO_SETS)
    elif node.is_attached:
        return node
    above = nodes.get(key[key[0] + 1 :])
    if above is None or not above.is_attached:
        above = attach(nodes, key[key[0] + 1 :])
    node.zone = above.zone
    node.cut = above.cut or (above if above.wildcard is above else node if codes.NS in node.sets else None)
    node.is_attached = True
    if codes.DNAME in node.sets:
        node.wildcard = node
    if key.startswith(WILDCARD) and above.wildcard is not above:
        above.wildcard = node
    return node
