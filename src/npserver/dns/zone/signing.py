"""The signatures of a zone: made when an answer first needs them, and kept (RFC 4034, RFC 4035 §2).

A signature is a function of the record set, the keys and the day: ECDSA's nonces are derived from what is signed
(RFC 6979). So all processes make equal ones, and a change has only what changed signed anew. Days are those of UTC,
given by `nameserver.dnssec`: each day a part of the names is due, so that signatures are renewed long before they
expire, and not all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING
from zlib import crc32

from npserver.dns.message import codes
from npserver.dns.message.dnssec import NSEC3_PARAMETERS, rrsig_head, signed_bytes
from npserver.dns.zone.denial import CHAINS, Nsec3Chain, NsecChain
from npserver.dns.zone.signed_journal import Observed, SignedJournal, SignedVersion
from npserver.dns.zone.zone_keys import ZoneKeys

if TYPE_CHECKING:
    from npserver.dns.zone.tables import Denial, Node, RecordSet, Tables, Zone

DAY_S = 86_400
KEY_TTL_S = 3600  # of DNSKEY, CDS and CDNSKEY records: each step of a roll-over waits for it
MAX_SIGNATURES = 500_000  # kept for a zone in all its views, some 400 bytes each
_SKEW_S = 3 * 3600  # signatures begin so long before they are made: clocks of resolvers may be slow
_RENEWED_AT = 5 / 14  # of their life
_OF_KEYS = frozenset({codes.DNSKEY, codes.CDS, codes.CDNSKEY})
#: What signing puts at the apex.
MADE_TYPES = frozenset({codes.DNSKEY, codes.CDS, codes.CDNSKEY, codes.NSEC3PARAM})


class Signatures:
    """The signatures of a zone that were made so far, in all views and tables of a process."""

    __slots__ = ("_known", "_version", "made")

    def __init__(self) -> None:
        self.made = 0  # how many
        self._version = -1
        self._known: dict[tuple[bytes, int, int, tuple[bytes, ...]], tuple[int, tuple[bytes, ...]]] = {}

    def __repr__(self) -> str:
        return f"<Signatures {len(self._known)} kept, {self.made} made>"

    def of(
        self, zone: bytes, keys: ZoneKeys, owner: bytes, rtype: int, records: RecordSet, period: tuple[int, int, int]
    ) -> tuple[bytes, ...]:
        """Return the data of the RRSIG records of a record set.

        Args:
            zone: the apex.
            owner: of the records; of a wildcard, not the name that it stands for.
            records: with the TTL that they have in the zone.
            period: the number of the period, then the inception and the expiration of its signatures.
        """
        ttl, data = records
        if keys.version != self._version or len(self._known) >= MAX_SIGNATURES:
            self._known.clear()
            self._version = keys.version
        place = (owner, rtype, ttl, data)
        known = self._known.get(place)
        if known is not None and known[0] == period[0]:
            return known[1]
        signed = self.make(zone, keys, owner, rtype, records, period)
        self._known[place] = period[0], signed
        return signed

    def make(
        self, zone: bytes, keys: ZoneKeys, owner: bytes, rtype: int, records: RecordSet, period: tuple[int, int, int]
    ) -> tuple[bytes, ...]:
        """Return the same as `of`, made anew and not kept."""
        ttl, data = records
        found = []
        for key in keys.of_keys if rtype in _OF_KEYS else keys.of_zone:
            head = rrsig_head(rtype, key.algorithm, owner, ttl, period[1:], key.tag, zone)
            found.append(head + key.sign(signed_bytes(head, owner, rtype, ttl, data)))
        self.made += len(found)
        return tuple(found)


class ZoneSigning:
    """What signs one zone in one view's tables."""

    is_given = False

    __slots__ = (
        "_chain",
        "_clock",
        "_denial",
        "_life_days",
        "_signatures",
        "_tables",
        "day",
        "journal",
        "keys",
        "period_days",
        "zone",
    )

    def __init__(
        self,
        tables: Tables,
        zone: Zone,
        keys: ZoneKeys,
        signatures: Signatures,
        *,
        denial: str,
        life_days: int,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Begin to sign a zone. `clock`: the time of changes in seconds, of whatever origin."""
        self.zone = zone
        self.keys = keys
        self.day = 0  # since 1970
        self._tables = tables
        self._signatures = signatures
        self._denial = denial
        self._life_days = life_days
        self.period_days = max(1, int(life_days * _RENEWED_AT))  # between two signatures of a record set
        self.journal = SignedJournal()  # of the changes
        self._clock = clock
        self._chain: NsecChain | Nsec3Chain | None = None

    def __repr__(self) -> str:
        return f"<ZoneSigning {self.zone!r} by {[key.tag for key in self.keys.of_zone]}>"

    @property
    def own_types(self) -> Collection[int]:
        """The types that each name has by being signed, beside a CNAME too (RFC 4034 §3, §4)."""
        return (codes.RRSIG, codes.NSEC) if self._denial == "nsec" else (codes.RRSIG,)

    @property
    def chain(self) -> NsecChain | Nsec3Chain:
        """The NSEC or NSEC3 records."""
        if self._chain is None:
            self._chain = CHAINS[self._denial](self._tables, self.zone)
        return self._chain

    def prepare(self) -> None:
        """Put the names in order, which takes 0.5 s for 100,000 of them."""
        assert self.chain is not None

    def use(self, keys: ZoneKeys, day: int) -> None:
        """Sign with these keys, as of that day. The serial rises with both: secondaries then fetch what is new."""
        causes = {"keys": keys is not self.keys, "day": day != self.day}
        cause = " ".join([one for one, is_so in causes.items() if is_so and self.day])
        of_keys = _OF_KEYS if causes["keys"] else ()
        observed = self.observe([self.zone.key])
        self.keys, self.day = keys, day
        self.sign_apex()
        self.zone.set_serial_offset(keys.version + day)
        self.note(observed, cause, of_keys)

    def observe(self, names: Iterable[bytes]) -> Observed:
        """Return the record sets of these names, all that a change is about, before it: for `note`."""
        return Observed(self._tables, self.zone, self.chain, names)

    def note(self, observed: Observed | None, cause: str, of_keys: Collection[int] = ()) -> None:
        """Note what has changed since names were observed; without them, that the zone is another one.

        `of_keys`: types that other keys sign now.
        """
        zone = self.zone
        version = SignedVersion(zone.soa, zone.negative_ttl, self.keys, self.day, cause, self._clock())
        if observed is None:
            self.journal.forget()
            self.journal.note(version, {}, 0)
        else:
            observed.note(self.journal, self.chain, version, of_keys=of_keys)

    def untrack(self) -> None:
        """Note that the zone changes without a new serial: what secondaries have with the present one is not known."""
        self.journal.forget()

    def sign_apex(self) -> None:
        """Put what is published of the keys at the apex; again after a change of the zone's records."""
        zone, keys = self.zone, self.keys
        apex = {rtype: records for rtype, records in zone.apex.sets.items() if rtype not in MADE_TYPES}
        apex[codes.DNSKEY] = KEY_TTL_S, keys.dnskeys
        if keys.cds:
            apex[codes.CDS] = KEY_TTL_S, keys.cds
            apex[codes.CDNSKEY] = KEY_TTL_S, keys.cdnskeys
        if self._denial == "nsec3":
            apex[codes.NSEC3PARAM] = 0, (NSEC3_PARAMETERS,)
        zone.apex.sets = apex
        if zone.parent is None or zone.parent.signing is None or not zone.parent.signing.is_given:
            zone.ds = (KEY_TTL_S, keys.ds) if keys.ds else None

    def add(self, node: Node) -> None:
        """Note a name that was added to the tables."""
        if self._chain is not None and (node.cut is None or node.cut is node):
            self._chain.add(node)

    def remove(self, node: Node) -> None:
        """Note a name that was removed from the tables."""
        if self._chain is not None:
            self._chain.remove(node)

    def forget_names(self) -> None:
        """Note that names are delegated which were not, or the reverse."""
        self._chain = None

    def sign(self, owner: bytes, rtype: int, records: RecordSet) -> tuple[bytes, ...]:
        """Return the data of the RRSIG records of a record set, which has the TTL that it has in the zone."""
        return self._signatures.of(self.zone.key, self.keys, owner, rtype, records, self.period(owner, rtype))

    def sign_as_of(self, keys: ZoneKeys, day: int, owner: bytes, rtype: int, records: RecordSet) -> tuple[bytes, ...]:
        """Return the data of the RRSIG records that a record set has had with these keys, on that day."""
        return self._signatures.make(self.zone.key, keys, owner, rtype, records, self.period(owner, rtype, day))

    def is_renewed(self, owner: bytes, rtype: int, day: int) -> bool:
        """Return whether the signatures of a record set are of another period than on a day."""
        place = crc32(owner) + rtype
        return self.day - (self.day + place) % self.period_days != day - (day + place) % self.period_days

    def period(self, owner: bytes, rtype: int, day: int | None = None) -> tuple[int, int, int]:
        """Return the number of the period of a record set's signatures on a day, their inception and expiration."""
        day = self.day if day is None else day
        start = day - (day + crc32(owner) + rtype) % self.period_days
        return start, start * DAY_S - _SKEW_S, (start + self._life_days) * DAY_S

    def denial_set(self, denial: Denial) -> RecordSet:
        """Return an NSEC or NSEC3 record as a record set (RFC 9077 §3: its TTL is that of negative answers)."""
        return self.zone.negative_ttl, (denial[1],)

    def own_denial(self, name: bytes) -> RecordSet | None:
        """Return the NSEC record of a name that exists, if it has one."""
        if self.chain.rtype != codes.NSEC:
            return None
        (found,) = self.chain.of_name(name)
        return self.denial_set(found) if found[0] == name else None

    def signatures_at(self, node: Node) -> list[RecordSet]:
        """Return the RRSIG records of all record sets of a name in the zone, by the TTLs of these."""
        sets = [one for one in node.sets.items() if one[1][1]]
        if (denial := self.own_denial(node.key)) is not None:
            sets.append((codes.NSEC, denial))
        return [(records[0], self.sign(node.key, rtype, records)) for rtype, records in sets]
