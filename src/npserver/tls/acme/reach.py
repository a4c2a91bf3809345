"""By which challenges a CA can find out that a name is ours: what the listeners and zones of a config can answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.address import Address, parse_listen
from npserver.dns.message.name import parse_owner
from npserver.dns.zone.apexes import choose_apexes
from npserver.runtime.compilation import PerCompilation
from npserver.tls.acme.challenges import ChallengeKind, possible_kinds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.config.schema import Config
    from npserver.runtime.compilation import Compilation

_NAMES = {"dns": ChallengeKind.DNS_01, "tls-alpn": ChallengeKind.TLS_ALPN_01, "http": ChallengeKind.HTTP_01}


class Reach(Struct, frozen=True):
    """What can be answered: at port 80, at port 443, and in which zones."""

    has_http: bool
    has_tls: bool
    apexes: frozenset[bytes]

    def kinds(self, name: str, chosen: Sequence[str] = ()) -> list[ChallengeKind]:
        """Return the kinds of challenge for a name, the best first. `chosen`: those that the config asks for."""
        possible = possible_kinds(name)
        if chosen:
            return [_NAMES[one] for one in chosen if _NAMES[one] in possible]
        can = (
            (ChallengeKind.DNS_01, self.holds(name)),
            (ChallengeKind.TLS_ALPN_01, self.has_tls),
            (ChallengeKind.HTTP_01, self.has_http),
        )
        return [kind for kind, is_there in can if is_there and kind in possible]

    def holds(self, name: str) -> bool:
        """Whether a name lies in one of our zones."""
        key = parse_owner(name.removeprefix("*.")).lower()
        return any(key.endswith(apex) and _is_end(key, apex) for apex in self.apexes)


def _is_end(key: bytes, apex: bytes) -> bool:
    """Whether a name, of which the bytes of an apex are the end, ends in its labels."""
    while len(key) > len(apex):
        key = key[key[0] + 1 :]
    return key == apex


def _reach(compilation: Compilation) -> Reach:
    config = compilation.config
    addresses = list(_addresses(config))
    is_name_server = any(getattr(type(rule), "uses_dns_ports", False) for rule in config.dispatch)
    return Reach(
        has_http=any(one.scheme == "http" and one.port == 80 for one in addresses),
        has_tls=any(one.is_tls and one.port == 443 for one in addresses),
        apexes=_apexes(config) if is_name_server else frozenset(),
    )


def _addresses(config: Config) -> list[Address]:
    found = []
    for entry in config.listen:
        try:
            found.append(parse_listen(entry if isinstance(entry, str) else entry.uri))
        except ValueError:
            continue  # reported where listeners are compiled
    return found


def _apexes(config: Config) -> frozenset[bytes]:
    keys = []
    for text in (*config.dns_zones, *config.dns):
        try:
            keys.append(parse_owner(text).lower())
        except ValueError:
            continue  # reported where zones are compiled
    named = keys[: len(config.dns_zones)]
    apexes, _ = choose_apexes(named, {key: {} for key in keys}, ())
    return frozenset(apexes)


#: The reach of a config.
REACH: PerCompilation[Reach] = PerCompilation(_reach)
