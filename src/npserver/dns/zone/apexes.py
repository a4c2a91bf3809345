"""Chooses the apexes of zones: named in the config, marked by SOA or NS, or derived from names.

A derived zone is the last label of a name: `redis.local` is in `local`. Nobody owns a public top-level domain, so
there it is two labels: `api.company.com` is in `company.com`. Reverse names are in the zone of their network, a /24
or /64 (RFC 1035 §3.5, RFC 3596 §2.5), so that no answers are given for other networks. Called by `dns.zone.compile`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from npserver.dns.message import codes
from npserver.dns.message.name import ROOT, labels
from npserver.dns.zone.tables import RecordSets, ancestors

_PUBLIC = frozenset(
    b"com net org edu gov mil int info biz name pro app dev cloud online site store shop tech xyz blog".split()
)
_IPV4_TREE = [b"in-addr", b"arpa"]
_IPV6_TREE = [b"ip6", b"arpa"]


def choose_apexes(named: Iterable[bytes], sets: Mapping[bytes, RecordSets], standalone: Iterable[bytes]) -> set[bytes]:
    """Return the apexes of all zones.

    Args:
        named: the apexes that the config names.
        sets: the record sets by name.
        standalone: names that become zones of their own if no other zone holds them.
    """
    apexes = set(named)
    apexes.update([key for key, of_name in sets.items() if codes.SOA in of_name])
    served = sorted([key for key, of_name in sets.items() if codes.NS in of_name], key=len)
    for key in served:  # the topmost NS marks an apex, those below it mark cuts
        if not _is_covered(key, apexes):
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
            covered = parents[above] = _is_covered(above, apexes)
        if not covered:
            apex = _derive(key)
            derived.add(apex)
            parents[above] = len(apex) <= len(above)
    apexes |= derived
    apexes.update([key for key in standalone if not _is_covered(key, apexes)])
    return apexes


def _is_covered(key: bytes, apexes: set[bytes]) -> bool:
    """Return whether one of the zones holds the name."""
    return any(name in apexes for name in ancestors(key))


def _derive(key: bytes) -> bytes:
    """Return the apex of the zone derived from a name."""
    parts = labels(key)
    if parts[-2:] == _IPV4_TREE:
        kept = min(len(parts), 5)
    elif parts[-2:] == _IPV6_TREE:
        kept = min(len(parts), 18)
    elif parts and (len(parts[-1]) == 2 or parts[-1] in _PUBLIC):
        kept = 2
    else:
        kept = 1
    if parts and parts[-kept:][0] == b"*":
        kept -= 1
    return b"".join([bytes([len(part)]) + part for part in parts[len(parts) - kept :]]) + ROOT
