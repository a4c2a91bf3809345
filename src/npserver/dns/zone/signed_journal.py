"""What has changed in a zone that is signed here, from one serial to the next: for incremental transfers (RFC 1995).

Kept are the record sets that have changed, NSEC and NSEC3 records and those of the keys among them, and the keys and
the day of each serial. Signatures are not kept: those of before are made again, as equal ones are made of equal
records. What is not known for certain is forgotten, and the whole zone is sent. Pure; used by `dns.zone.signing`.

The serial is a sum of that of the content, the version of the keys and the day. Where two of them change at about the
same time, another process may have taken them in the other order, and have sent another zone with the serial between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from npserver.dns.message import codes
from npserver.dns.zone.denial import Nsec3Chain, NsecChain
from npserver.dns.zone.tables import soa_serial

if TYPE_CHECKING:
    from npserver.dns.zone.tables import Node, RecordSet, Tables, Zone
    from npserver.dns.zone.zone_keys import ZoneKeys

MAX_STEPS = 200
MIN_SETS, SETS_PART = 1000, 4  # kept are so many changed sets, and at most a part of the zone's names
SETTLED_S = 60.0  # all processes have taken a change of the keys, the day or the content

#: The record sets of some names by name and type: each with whether it is signed.
SignedSets = dict[tuple[bytes, int], tuple["RecordSet", bool]]


def is_signed_at(node: Node, rtype: int) -> bool:
    """Whether a record set of a name has signatures: delegations and the names below them have none (RFC 4035 §2.2)."""
    return node.cut is None or (node.cut is node and rtype == codes.DS)


class SignedVersion(Struct, frozen=True, eq=False):
    """What a zone was signed with at one serial, and how that came."""

    soa: RecordSet
    negative_ttl: int  # that of NSEC and NSEC3 records
    keys: ZoneKeys
    day: int
    cause: str  # what has changed; empty for the first one
    at: float  # on a clock in seconds
    is_certain: bool = True  # whether all processes have served the same with the serial

    @property
    def serial(self) -> int:
        """The serial."""
        return soa_serial(self.soa[1][0])


class SignedStep(Struct, frozen=True, eq=False):
    """What becomes of a record set: None if it is not there; each with whether it is signed."""

    before: tuple[RecordSet, bool] | None
    after: tuple[RecordSet, bool] | None


class SignedJournal:
    """The last versions of a zone in one view."""

    __slots__ = ("_steps", "_versions")

    def __init__(self) -> None:
        self._versions: deque[SignedVersion] = deque()
        self._steps: deque[dict[tuple[bytes, int], SignedStep]] = deque()  # from each version to the next

    def __repr__(self) -> str:
        return f"<SignedJournal of {len(self._versions)} versions>"

    def forget(self) -> None:
        """Forget all: the zone changes without a new serial."""
        self._versions.clear()
        self._steps.clear()

    def note(self, version: SignedVersion, steps: Mapping[tuple[bytes, int], SignedStep], most: int) -> None:
        """Note that a zone has another version after these steps. `most`: of the steps that are kept."""
        if self._versions:
            last = self._versions[-1]
            if last.serial == version.serial:
                if steps:
                    self.forget()
                return
            if last.cause not in ("", version.cause) and version.at - last.at < SETTLED_S:
                self._versions[-1] = replace(last, is_certain=False)
            self._steps.append(dict(steps))
        self._versions.append(version)
        while self._steps and (len(self._steps) > MAX_STEPS or sum(map(len, self._steps)) > most):
            self._versions.popleft()
            self._steps.popleft()

    def follows(self, serial: int) -> bool:
        """Whether the last version is that of a serial."""
        return bool(self._versions) and self._versions[-1].serial == serial

    def since(self, serial: int) -> tuple[SignedVersion, dict[tuple[bytes, int], SignedStep]] | None:
        """Return the version of a serial, and what has become of its record sets since; None if that is not known."""
        at = next((at for at, one in enumerate(self._versions) if one.serial == serial), None)
        if at is None or not self._versions[at].is_certain:
            return None
        found: dict[tuple[bytes, int], SignedStep] = {}
        for index in range(at, len(self._steps)):
            for place, one in self._steps[index].items():
                earlier = found.get(place)
                found[place] = one if earlier is None else SignedStep(earlier.before, one.after)
        return self._versions[at], found


def most_steps(tables: Tables) -> int:
    """Return how many changed record sets are kept: the whole zone is sent instead of more."""
    return max(MIN_SETS, len(tables.nodes) // SETS_PART)


class Observed:
    """The record sets of some names before a change, to be compared with those after it."""

    __slots__ = ("_before", "_denials", "_names", "_serial", "_tables", "_zone")

    def __init__(self, tables: Tables, zone: Zone, chain: NsecChain | Nsec3Chain, names: Iterable[bytes]) -> None:
        self._tables = tables
        self._zone = zone
        self._names = list(names)
        self._before = self._sets()
        self._denials = dict([one for name in self._names for one in chain.around(name)])
        self._serial = zone.shown_serial

    def _sets(self) -> SignedSets:
        found: SignedSets = {}
        for name in self._names:
            node = self._tables.nodes.get(name)
            if node is not None and node.zone is self._zone:
                for rtype, records in node.sets.items():
                    if rtype != codes.SOA or node is not self._zone.apex:
                        found[name, rtype] = records, is_signed_at(node, rtype)
        return found

    def note(
        self,
        journal: SignedJournal,
        chain: NsecChain | Nsec3Chain,
        version: SignedVersion,
        *,
        of_keys: Iterable[int] = (),
    ) -> None:
        """Note in a journal what has changed. `of_keys`: types of the apex that other keys sign now."""
        if not journal.follows(self._serial):
            journal.forget()
        before, after = self._before, self._sets()
        steps = {
            place: SignedStep(before.get(place), after.get(place))
            for place in {**before, **after}
            if before.get(place) != after.get(place) or (place[0] == self._zone.key and place[1] in of_keys)
        }
        ttl = version.negative_ttl
        for owner in {**self._denials, **dict.fromkeys(map(chain.owner_of, self._names))}:
            was, now = self._denials.get(owner), chain.at_owner(owner)
            if was != now:
                steps[owner, chain.rtype] = SignedStep(_denial_set(ttl, was), _denial_set(ttl, now))
        journal.note(version, steps, most_steps(self._tables))


def _denial_set(ttl: int, data: bytes | None) -> tuple[RecordSet, bool] | None:
    return None if data is None else ((ttl, (data,)), True)
