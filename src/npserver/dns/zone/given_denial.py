"""The NSEC or NSEC3 records that another server has made of a zone, found by name (RFC 4035 §3.1.3, RFC 5155 §7.2).

As those of `dns.zone.denial`, but nothing is made here: a zone whose records are incomplete gets incomplete proofs.
Pure; used by `dns.zone.presigned`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING

from npserver.dns.message import codes
from npserver.dns.message.dnssec import SHA1_HASH, canonical_key, nsec3_hash, nsec3_owner
from npserver.dns.message.name import WILDCARD, parent
from npserver.dns.zone.denial import next_closer

if TYPE_CHECKING:
    from npserver.dns.zone.content import Content
    from npserver.dns.zone.tables import Denial

#: Further iterations that the NSEC3 records of a zone may have: each costs time at each missing name (RFC 9276 §3.1).
MAX_ITERATIONS = 500

#: Iterations and salt.
Parameters = tuple[int, bytes]


class GivenNsec:
    """The NSEC records of a zone. `content`: all of its records."""

    rtype = codes.NSEC

    __slots__ = ("_order", "_owners", "content")

    def __init__(self, content: Content) -> None:
        self.content = content
        found = sorted([(canonical_key(name), name) for name, sets in content.items() if codes.NSEC in sets])
        self._order = [order for order, _ in found]
        self._owners = [name for _, name in found]

    def __repr__(self) -> str:
        return f"<GivenNsec of {len(self._owners)} names>"

    def note(self, name: bytes) -> None:
        """Note that the record of a name has changed."""
        order, is_there = canonical_key(name), codes.NSEC in self.content.get(name, {})
        index = bisect_left(self._order, order)
        was_there = index < len(self._order) and self._order[index] == order
        if is_there and not was_there:
            self._order.insert(index, order)
            self._owners.insert(index, name)
        elif was_there and not is_there:
            del self._order[index], self._owners[index]

    def place(self, name: bytes, encloser: bytes) -> int:
        """Return the index of the record that covers a missing name."""
        return bisect_right(self._order, canonical_key(name)) - 1

    def of_name(self, name: bytes) -> list[Denial]:
        """Return the record of a name; that of the name before it, for one without records above other names."""
        if not self._owners:
            return []
        owner = self._owners[self.place(name, name)]
        return [(owner, self.content[owner][codes.NSEC][1][0])]

    def no_closer(self, name: bytes, encloser: bytes) -> list[Denial]:
        """Return the record that covers a missing name."""
        return self.of_name(name)

    def missing(self, name: bytes, encloser: bytes) -> list[Denial]:
        """Return the records that cover a missing name, and the wildcard below its closest encloser."""
        return [*self.of_name(name), *self.of_name(WILDCARD + encloser)]

    def wildcard_without_type(self, name: bytes, wildcard: bytes) -> list[Denial]:
        """Return the record that covers a missing name, and that of the wildcard."""
        return [*self.of_name(name), *self.of_name(wildcard)]

    def every(self) -> Iterator[Denial]:
        """Yield all records."""
        for owner in self._owners:
            yield owner, self.content[owner][codes.NSEC][1][0]


class GivenNsec3:
    """The NSEC3 records of a zone that have its parameters; by opt-out, names may have none (RFC 5155 §6)."""

    rtype = codes.NSEC3

    __slots__ = ("_apex", "_order", "_parameters", "content")

    def __init__(self, content: Content, apex: bytes, parameters: Parameters) -> None:
        self.content = content
        self._apex = apex
        self._parameters = parameters
        self._order = sorted([name for name, sets in content.items() if codes.NSEC3 in sets and self._at(name)])

    def __repr__(self) -> str:
        return f"<GivenNsec3 of {len(self._order)} names>"

    def note(self, name: bytes) -> None:
        """Note that the record of a hashed name has changed."""
        index, is_there = bisect_left(self._order, name), bool(self._at(name))
        was_there = index < len(self._order) and self._order[index] == name
        if is_there and not was_there:
            self._order.insert(index, name)
        elif was_there and not is_there:
            del self._order[index]

    def place(self, name: bytes, encloser: bytes) -> int:
        """Return the index of the record that covers the next closer name."""
        return self._place(next_closer(name, encloser))

    def of_name(self, name: bytes) -> list[Denial]:
        """Return the record of a name; of one without, its closest provable encloser's, and that it is opted out."""
        encloser, found = self._provable(name)
        return found if encloser == name else [*found, *self._cover(next_closer(name, encloser))]

    def no_closer(self, name: bytes, encloser: bytes) -> list[Denial]:
        """Return the record that covers the next closer name (RFC 5155 §7.2.6)."""
        return self._cover(next_closer(name, encloser))

    def missing(self, name: bytes, encloser: bytes) -> list[Denial]:
        """Return the record of the closest encloser, and those that cover what does not exist (RFC 5155 §7.2.2)."""
        provable, found = self._provable(encloser)
        return [*found, *self._cover(next_closer(name, provable)), *self._cover(WILDCARD + provable)]

    def wildcard_without_type(self, name: bytes, wildcard: bytes) -> list[Denial]:
        """Return the closest encloser's record, that which covers the next closer name, the wildcard's (§7.2.5)."""
        provable, found = self._provable(parent(wildcard))
        return [*found, *self._cover(next_closer(name, provable)), *self.of_name(wildcard)]

    def every(self) -> Iterator[Denial]:
        """Yield all records, in the order of their hashes."""
        for owner in self._order:
            yield from self._at(owner)

    def _owner(self, name: bytes) -> bytes:
        iterations, salt = self._parameters
        return nsec3_owner(nsec3_hash(name, salt, iterations), self._apex)

    def _at(self, owner: bytes) -> list[Denial]:
        data = self.content.get(owner, {}).get(codes.NSEC3, (0, ()))[1]
        return [(owner, one) for one in data if has_parameters(one, self._parameters)][:1]

    def _place(self, name: bytes) -> int:
        """Return the index of the last record at or before the hash of a name; that of -1 is the last one of all."""
        return bisect_right(self._order, self._owner(name)) - 1

    def _cover(self, name: bytes) -> list[Denial]:
        return self._at(self._order[self._place(name)]) if self._order else []

    def _provable(self, name: bytes) -> tuple[bytes, list[Denial]]:
        """Return the closest name at or above this one that has a record, and the record (RFC 5155 §7.2.1)."""
        while not (found := self._at(self._owner(name))) and name != self._apex:
            name = parent(name)
        return name, found


def has_parameters(data: bytes, parameters: Parameters) -> bool:
    """Whether an NSEC3 record is made with these iterations and this salt."""
    iterations, salt = parameters
    return data[0] == SHA1_HASH and data[2:4] == iterations.to_bytes(2, "big") and data[5 : 5 + data[4]] == salt


def excessive_iterations(content: Content, apex: bytes) -> str:
    """Return why the NSEC3 records of a zone cannot be served; "" if they can."""
    found = [int.from_bytes(one[2:4], "big") for one in content.get(apex, {}).get(codes.NSEC3PARAM, (0, ()))[1]]
    most = max(found, default=0)
    if most <= MAX_ITERATIONS:
        return ""
    return f"NSEC3 records of {most} iterations: at most {MAX_ITERATIONS} are served, RFC 9276 wants 0"


def nsec3_parameters(content: Content, apex: bytes) -> Parameters | None:
    """Return the parameters of the NSEC3 records of a zone; None if it has NSEC records instead (RFC 5155 §4)."""
    for one in content.get(apex, {}).get(codes.NSEC3PARAM, (0, ()))[1]:
        parameters = int.from_bytes(one[2:4], "big"), one[5:]
        if one[0] != SHA1_HASH or one[1] or parameters[0] > MAX_ITERATIONS:
            continue
        owner = nsec3_owner(nsec3_hash(apex, parameters[1], parameters[0]), apex)
        if any(has_parameters(data, parameters) for data in content.get(owner, {}).get(codes.NSEC3, (0, ()))[1]):
            return parameters
    return None
