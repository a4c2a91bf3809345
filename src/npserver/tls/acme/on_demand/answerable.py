"""What the solver can answer: of names on demand while they are ordered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from npserver.tls.acme.challenges import ChallengeKind
    from npserver.tls.acme.dns.places import Places
    from npserver.tls.acme.on_demand.entry import Entry


class Answerable(Struct, frozen=True):
    """The tables of the solver. The names of the config are in them; those on demand are added and removed."""

    kinds: dict[str, Sequence[ChallengeKind]]  # by name
    places: dict[str, Places]  # of TXT records, by the names that the CA asks for

    @contextmanager
    def including(self, entry: Entry, name: str) -> Iterator[None]:
        """Let a name be answered for."""
        places = entry.places(name)
        is_new, has_new_record = name not in self.kinds, places.record not in self.places
        self.kinds.setdefault(name, entry.kinds(name))
        self.places.setdefault(places.record, places)
        try:
            yield
        finally:
            if is_new:
                del self.kinds[name]
            if has_new_record:
                del self.places[places.record]
