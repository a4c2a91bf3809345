"""Chooses the apexes of zones: named in the config, marked by SOA or NS, or derived from names.

A derived zone holds what the owner of a name has registered, and no more: by the public suffix list, a name below
example.co.uk is in that zone, and not in co.uk. Names below a last label that is no public top-level domain are in a
zone of that label: nas.home is in home. Reverse names of private addresses are in the zone of their network, a /24 or
/64 (RFC 1035 §3.5, RFC 3596 §2.5); the neighbours of a public address are not ours, so each is a zone of its own.
Called by `dns.zone.compile`.

The parent of each name would need no list, but is wrong for example.com (all of com would be ours), and makes a zone of
its own of each level in a.b.home and _http._tcp.web.home.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from npserver.dns.message import codes
from npserver.dns.message.name import ROOT, labels
from npserver.dns.zone.public_suffix import registered_labels
from npserver.dns.zone.reverse import is_local, reversed_address
from npserver.dns.zone.tables import RecordSets, ancestors

_HOME_ARPA = [b"home", b"arpa"]  # for names of a home network (RFC 8375), although the list has it as a suffix


def choose_apexes(
    named: Iterable[bytes], sets: Mapping[bytes, RecordSets], standalone: Iterable[bytes]
) -> tuple[set[bytes], set[bytes]]:
    """Return the apexes of all zones, and those among them that are derived from names.

    Args:
        named: the apexes that the config names.
        sets: the record sets by name.
        standalone: names that become zones of their own if no other zone holds them.
    """
    apexes = set(named)
    apexes.update([key for key, of_name in sets.items() if codes.SOA in of_name])
    served = sorted([key for key, of_name in sets.items() if codes.NS in of_name], key=len)
    for key in served:  # the topmost NS marks an apex, those below it mark cuts
        if not is_covered(key, apexes):
            apexes.add(key)
    standalone = set(standalone)
    derived: set[bytes] = set()
    parents: dict[bytes, bool] = {}  # by parent: whether a zone holds the names below it
    for key in sets:
        if key in apexes or key in standalone:
            continue
        above = key[key[0] + 1 :]
        covered = parents.get(above) if above else False
        if covered is None:
            covered = parents[above] = is_covered(above, apexes)
        if not covered:
            apex = _derive(key)
            derived.add(apex)
            parents[above] = len(apex) <= len(above)
    apexes |= derived
    alone = [key for key in standalone if not is_covered(key, apexes)]
    derived.update(alone)
    apexes.update(alone)
    return apexes, derived


def is_covered(key: bytes, apexes: set[bytes]) -> bool:
    """Return whether one of the zones holds the name."""
    return any(name in apexes for name in ancestors(key))


def _derive(key: bytes) -> bytes:
    """Return the apex of the zone derived from a name."""
    parts = labels(key)
    if not parts:
        return key
    kept = _reverse_labels(parts)
    if kept is None and parts[-2:] == _HOME_ARPA:
        kept = 2
    if kept is None:
        kept = registered_labels(parts) or 1
    if parts[-kept:][0] == b"*":
        kept -= 1
    return b"".join([bytes([len(part)]) + part for part in parts[len(parts) - kept :]]) + ROOT


def _reverse_labels(parts: list[bytes]) -> int | None:
    """Return how many labels at the end of a reverse name its zone keeps; None if it is no reverse name."""
    found = reversed_address(parts)
    if found is None:
        return None
    address, count = found
    if is_local(address):
        return min(len(parts), 5 if len(address) == 4 else 18)
    return min(len(parts), count)
