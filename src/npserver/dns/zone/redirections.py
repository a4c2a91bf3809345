"""The names with a DNAME among the records of a view, and what is wrong with them (RFC 6672 §2.4). Pure.

Called by `dns.zone.compile`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from npserver.dns.message import codes
from npserver.dns.message.name import ROOT, WILDCARD, parent
from npserver.dns.zone.tables import RecordSets, ancestors
from npserver.errors import clip

#: Called with each problem: its path below the records, and a message for the operator.
Report = Callable[[tuple[str | int, ...], str], None]


class Redirections:
    """The names with a DNAME."""

    __slots__ = ("_owners",)

    def __init__(self) -> None:
        self._owners: set[bytes] = set()

    def __repr__(self) -> str:
        return f"<Redirections of {len(self._owners)} names>"

    def __bool__(self) -> bool:
        return bool(self._owners)

    def note(self, sets: Mapping[bytes, RecordSets]) -> None:
        """Note the names with a DNAME among these."""
        self._owners.update([key for key, of_name in sets.items() if codes.DNAME in of_name])

    def above(self, key: bytes) -> bytes | None:
        """Return the name with a DNAME that a name lies below."""
        if not self._owners or key == ROOT:
            return None
        return next((above for above in ancestors(parent(key)) if above in self._owners), None)

    def check(
        self,
        sets: Mapping[bytes, RecordSets],
        spelled: Mapping[bytes, str],
        apexes: Collection[bytes],
        report: Report,
        warn: Report,
    ) -> None:
        """Check that no name of the config lies below one with a DNAME, and that no delegation has one.

        `spelled`: the names as they stand in the config.
        """
        for key, of_name in sets.items():
            if (owner := self.above(key)) is not None:
                problem = f"{clip(spelled[key])} lies below {clip(spelled[owner])}, and its DNAME stands for all names"
                report((spelled[key],), f"{problem} below: leave one of them out (RFC 6672 §2.4)")
            if codes.DNAME not in of_name:
                continue
            path = (spelled[key], "DNAME")
            if codes.NS in of_name and key not in apexes:
                report(path, "DNAME: beside NS records it can be at the apex of a zone alone (RFC 6672 §2.4)")
            for target in of_name[codes.DNAME][1]:
                if key in ancestors(target.lower()):
                    warn(path, "DNAME: it leads to names below itself, which do not end")
            if key.startswith(WILDCARD):
                warn(path, "DNAME: it stands for no other names than those below '*' itself (RFC 6672 §3.3)")
