"""Which records a key may change (`updates` of a zone). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from npserver.dns.message import codes
from npserver.dns.message.name import WILDCARD, parse_owner, to_text
from npserver.dns.message.record import PARSED_TYPES, parse_type
from npserver.dns.zone.tables import ancestors
from npserver.errors import clip
from npserver.guess import get_close_matches

SELF = "self"  # in `names`: the name that the key is called by
ANY = "any"  # in `types`
#: Types that lead elsewhere, or are of the whole zone: a rule without `types` does not allow them.
OF_ZONES = frozenset({codes.SOA, codes.NS, codes.DS, codes.DNAME, codes.CDS, codes.CDNSKEY})
#: Types that updates have, and the config has no form for.
_OTHERS = {codes.type_name(number): number for number in (codes.HINFO, codes.DNAME, codes.CDS, codes.CDNSKEY)}


class Names(Struct, frozen=True):
    """Names that a rule is for."""

    exact: frozenset[bytes]
    below: frozenset[bytes]  # all names below these
    has_own: bool = False  # the name of the key

    def has(self, name: bytes, key: bytes) -> bool:
        """Whether a name is one of them. `key`: the name of the key."""
        if name in self.exact or (self.has_own and name == key):
            return True
        return bool(self.below) and any(above in self.below for above in ancestors(name) if above != name)


class Policy(Struct, frozen=True):
    """One rule."""

    keys: frozenset[bytes]  # names of keys
    names: Names
    types: frozenset[int] | None  # None: all but `OF_ZONES`; empty: all

    def allows(self, key: bytes, name: bytes, rtype: int) -> bool:
        """Whether a key may change records of a type."""
        if key not in self.keys or not self.names.has(name, key):
            return False
        if self.types is None:
            return rtype not in OF_ZONES
        return not self.types or rtype in self.types


class ZoneRules(Struct, frozen=True):
    """Who may update a zone. `max_size`: of what updates make of it, in bytes."""

    policies: Sequence[Policy]
    max_size: int


def may_change(policies: Sequence[Policy], key: bytes, name: bytes, rtype: int) -> bool:
    """Whether one of the rules allows it."""
    return any(one.allows(key, name, rtype) for one in policies)


def parse_names(texts: Iterable[str], apex: bytes) -> Names:
    """Return the names that are meant: `nas.example.com`, `*.dyn.example.com` for all below, `self`.

    Without any it is all names of the zone. Raises: ValueError, also for names outside the zone.
    """
    exact: set[bytes] = set()
    below: set[bytes] = set()
    has_own = False
    for text in texts:
        if text == SELF:
            has_own = True
            continue
        name = parse_owner(text).lower()
        if apex not in ancestors(name):
            zone = to_text(apex)[:-1]
            whole = f": write the whole name, such as '{text}.{zone}'" if "." not in text.strip("*.") else ""
            raise ValueError(f"{clip(text)} is not in the zone {zone}{whole}")
        if name.startswith(WILDCARD):
            below.add(name[len(WILDCARD) :])
        else:
            exact.add(name)
    if not exact and not below and not has_own:
        exact, below = {apex}, {apex}
    return Names(frozenset(exact), frozenset(below), has_own)


def parse_types(texts: Iterable[str]) -> frozenset[int] | None:
    """Return the types that are meant; see `Policy.types`. Raises: ValueError."""
    texts = list(texts)
    if not texts:
        return None
    if ANY in texts:
        return frozenset()
    return frozenset(map(_parse_type, texts))


def _parse_type(text: str) -> int:
    if (number := _OTHERS.get(text.upper())) is not None:
        return number
    try:
        return parse_type(text)
    except ValueError as error:
        close = get_close_matches(text.upper(), [*PARSED_TYPES, *_OTHERS], 1)
        raise ValueError(f"{error}, did you mean {close[0]!r}?" if close else str(error)) from None
