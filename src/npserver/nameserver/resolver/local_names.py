"""Local names, which resolvers of the internet must not be asked for: their answers are known, or there are none.

`localhost` has the loopback addresses (RFC 6761 §6.3). No names exist below `local` (RFC 6762 §22), `test`, `invalid`
(RFC 6761 §6.2, §6.4), `onion` (RFC 7686), `alt` (RFC 9476) and `home.arpa` (RFC 8375), nor in the reverse zones of
private and reserved networks (RFC 6303, RFC 7793), unless the config has them. `internal` is not among them: the
resolvers of cloud providers have names below it. Used by
`nameserver.query_processor` before a question goes to the resolvers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from npserver.dns.message.name import parse_owner
from npserver.dns.zone.compile import Settings, compile_tables
from npserver.dns.zone.responder import Responder, Tallies
from npserver.dns.zone.tables import Tables, ancestors
from npserver.errors import clip
from npserver.nameserver.resolver.discovery import NAME as DISCOVERY

if TYPE_CHECKING:
    from npserver.dns.zone.answer import CompiledAnswer

TTL_S = 10_800  # RFC 6303 §3

LOCAL_ZONES = (
    *("localhost", "local", "test", "invalid", "onion", "alt", "home.arpa", "resolver.arpa", "service.arpa"),
    *(f"{number}.in-addr.arpa" for number in (0, 10, 127)),
    *(f"{number}.172.in-addr.arpa" for number in range(16, 32)),
    *(f"{number}.100.in-addr.arpa" for number in range(64, 128)),
    *("168.192.in-addr.arpa", "254.169.in-addr.arpa", "255.255.255.255.in-addr.arpa"),
    *("2.0.192.in-addr.arpa", "100.51.198.in-addr.arpa", "113.0.203.in-addr.arpa"),
    *(f"{digit}.{'0.' * 31}ip6.arpa" for digit in (0, 1)),
    *(
        "d.f.ip6.arpa",
        "8.e.f.ip6.arpa",
        "9.e.f.ip6.arpa",
        "a.e.f.ip6.arpa",
        "b.e.f.ip6.arpa",
        "8.b.d.0.1.0.0.2.ip6.arpa",
    ),
)

_LOOPBACK: dict[str, object] = {"A": "127.0.0.1", "AAAA": "::1"}
_RECORDS: dict[str, dict[str, object]] = {
    "localhost": _LOOPBACK,
    "*.localhost": _LOOPBACK,
    "1.0.0.127.in-addr.arpa": {"PTR": "localhost"},
    f"1.{'0.' * 31}ip6.arpa": {"PTR": "localhost"},
    f"unused.{DISCOVERY}": {"TXT": "for the name above to exist"},  # it has no other records (RFC 9462 §6.4)
}


def parse_local_zone(name: str) -> bytes:
    """Return the key of a local name that is to be forwarded all the same. Raises: ValueError."""
    key = parse_owner(name).lower()
    if not is_local(key):
        raise ValueError(f"{clip(name)} is not a local name: it is forwarded without this")
    return key


def is_local(key: bytes) -> bool:
    """Return whether a name in lower case is a local one."""
    return any(above in _tables().zones for above in ancestors(key))


class LocalNames:
    """Answers questions for local names.

    Args:
        forwarded: keys of the local names that, with all names below them, the resolvers are asked for.
        tallies: counts the answers.
        discovery: the records of `nameserver.resolver.discovery`.
    """

    __slots__ = ("_forwarded", "_responder")

    def __init__(
        self, forwarded: frozenset[bytes], tallies: Tallies, discovery: Mapping[str, Mapping[str, object]] | None = None
    ) -> None:
        self._forwarded = forwarded
        self._responder = Responder(_compile_tables(discovery) if discovery else _tables(), tallies)

    def __repr__(self) -> str:
        return f"<LocalNames without {len(self._forwarded)} forwarded>"

    def answer(self, key: bytes, type_and_class: bytes) -> CompiledAnswer | None:
        """Return the answer to a question as `Responder.answer` does; None if the resolvers are to be asked."""
        answer = self._responder.answer(key, type_and_class)
        if answer is not None and self._forwarded and any(above in self._forwarded for above in ancestors(key)):
            return None
        return answer


@cache
def _tables() -> Tables:
    """Return the tables of all local zones without records of listeners."""
    return _compile_tables({})


def _compile_tables(more: Mapping[str, Mapping[str, object]]) -> Tables:
    """Return the tables of all local zones, each with the SOA and NS of RFC 6303 §3, and with more records."""
    times = {"serial": 1, "refresh": 3600, "retry": 1200, "expire": 604_800, "minimum": TTL_S}
    records = {
        zone: {"SOA": {"mname": zone, "rname": "nobody.invalid", **times}, "NS": zone, **_RECORDS.get(zone, {})}
        for zone in LOCAL_ZONES
    }
    whole = {**_RECORDS, **records, **{name: dict(one) for name, one in more.items()}}
    return compile_tables(whole, Settings(TTL_S), lambda path, message: None)
