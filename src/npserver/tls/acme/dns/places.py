"""Where the TXT record of DNS-01 belongs for a name (RFC 8555 §8.4), by the config alone: no look-up decides it.

That is `_acme-challenge` below the name, unless a CNAME stands there: then it is the name to which that leads. A CNAME
in our own zones is followed. Of one in the DNS of others the config says where it leads, with `dns_alias`. The record
is in a zone of ours, or in one of a server that takes updates.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from npserver.dns.message.name import to_text
from npserver.networks import is_ip_address
from npserver.tls.acme.challenges import DNS_LABEL
from npserver.tls.acme.dns.our_zones import OurZones
from npserver.tls.acme.dns.update_server import UpdateServer


class Places(Struct, frozen=True):
    """The places for one name. The record is shown at all of them: the CA finds it at one."""

    record: str = ""  # the name that the CA asks for
    ours: tuple[str, ...] = ()  # names in our zones
    updates: tuple[tuple[UpdateServer, str], ...] = ()  # names in the zones of other servers
    outside: tuple[str, ...] = ()  # names to which CNAMEs of ours lead, for which others answer
    alias: str = ""  # to which a CNAME in the DNS of others must lead
    is_in_ours: bool = False  # whether our servers answer for `record` itself

    @property
    def are_known(self) -> bool:
        """Whether the record can be shown."""
        return bool(self.ours or self.updates)

    def describe(self) -> list[str]:
        """Return, as text, the CNAME that must be set in the DNS of others, and the servers that are updated."""
        found = [
            f"updates of the zone {server.zone_of(name)} at {server}, signed by the key "
            f"{to_text(server.key.name).removesuffix('.')} ({server.key.algorithm})"
            for server, name in self.updates
        ]
        if self.alias:
            where = " where its zone is not served by npserver" if self.is_in_ours else ""
            found.append(f"needs the record: {self.record}. CNAME {self.alias}.{where}")
        return found

    def merge(self, other: Places) -> Places:
        """Return the places of both: certificates for a name and for its wildcard have the same record."""
        return Places(
            self.record,
            tuple(dict.fromkeys((*self.ours, *other.ours))),
            tuple(dict.fromkeys((*self.updates, *other.updates))),
            tuple(dict.fromkeys((*self.outside, *other.outside))),
            self.alias or other.alias,
            self.is_in_ours,
        )


def find_places(zones: OurZones, name: str, alias: str = "", server: UpdateServer | None = None) -> Places:
    """Return the places for a name of a certificate. `alias`: the value of `dns_alias`; `server`: of `dns_update`."""
    if is_ip_address(name):
        return Places()
    record = f"{DNS_LABEL}.{name.removeprefix('*.')}"
    is_in_ours = zones.hold(record)
    is_known = is_in_ours or (server is not None and server.zone_of(record) is not None)
    starts = [*([alias] if alias else []), *([record] if is_known else [])]
    ends = dict.fromkeys(end for start in starts for end in zones.ends(start))
    ours = tuple(end for end in ends if zones.hold(end))
    updates = tuple((server, end) for end in ends if server is not None and server.zone_of(end) is not None)
    placed = {*ours, *(end for _, end in updates)}
    return Places(record, ours, updates, tuple(end for end in ends if end not in placed), alias, is_in_ours)


def by_record(places: Iterable[Places]) -> dict[str, Places]:
    """Return all places by the name that the CA asks for."""
    found: dict[str, Places] = {}
    for one in places:
        if one.record:
            found[one.record] = found[one.record].merge(one) if one.record in found else one
    return found
