"""By which challenges a CA can find out that a name is ours: what the listeners and zones of a config can answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.address import Address, parse_listen
from npserver.runtime.compilation import PerCompilation
from npserver.tls.acme.challenges import ChallengeKind, possible_kinds
from npserver.tls.acme.dns.our_zones import OurZones, zones_of
from npserver.tls.acme.dns.places import Places, find_places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.config.schema import Config
    from npserver.runtime.compilation import Compilation

_NAMES = {kind.key: kind for kind in ChallengeKind}


class Reach(Struct, frozen=True):
    """What can be answered: at port 80, at port 443, and in which zones."""

    has_http: bool
    has_tls: bool
    zones: OurZones

    def kinds(self, name: str, chosen: Sequence[str] = (), places: Places | None = None) -> list[ChallengeKind]:
        """Return the kinds of challenge for a name, the best first.

        `chosen`: those that the config asks for. `places`: of the name's TXT record; default: in our zones.
        """
        possible = possible_kinds(name)
        has_places = (places or find_places(self.zones, name)).are_known
        if chosen:
            if not has_places:
                possible -= {ChallengeKind.DNS_01}
            return [_NAMES[one] for one in chosen if _NAMES[one] in possible]
        can = (
            (ChallengeKind.DNS_01, has_places),
            (ChallengeKind.TLS_ALPN_01, self.has_tls),
            (ChallengeKind.HTTP_01, self.has_http),
        )
        return [kind for kind, is_there in can if is_there and kind in possible]


def _reach(compilation: Compilation) -> Reach:
    config = compilation.config
    addresses = list(_addresses(config))
    return Reach(
        has_http=any(one.scheme == "http" and one.port == 80 for one in addresses),
        has_tls=any(one.is_tls and one.is_stream and one.port == 443 for one in addresses),
        zones=zones_of(config),
    )


def _addresses(config: Config) -> list[Address]:
    found = []
    for entry in config.listen:
        try:
            found.append(parse_listen(entry if isinstance(entry, str) else entry.uri))
        except ValueError:
            continue  # reported where listeners are compiled
    return found


#: The reach of a config.
REACH: PerCompilation[Reach] = PerCompilation(_reach)
