"""The last changes of a zone, for secondaries that ask for them (IXFR): together no larger than the zone.

Sizes are kept, so that a change costs nothing for the records that it leaves alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from npserver.dns.zone.content import Content, SetChange, ZoneChange, content_size, set_size


class ZoneHistory:
    """The history of one zone in one process, the oldest change first."""

    # _size   of all changes together
    # _limit  the size of the zone; None until there is a change

    __slots__ = ("_limit", "_size", "changes")

    def __init__(self, changes: Iterable[ZoneChange] = ()) -> None:
        self.changes = deque(changes)
        self._size = sum([one.size for one in self.changes])
        self._limit: int | None = None

    def __repr__(self) -> str:
        return f"<ZoneHistory of {len(self.changes)} changes>"

    def add(self, change: ZoneChange, content: Content) -> None:
        """Add a change. `content`: the zone after it."""
        if self._limit is None:
            self._limit = content_size(content)
        else:
            self._limit += sum(map(_growth, change.sets))
        if not (change.from_serial and change.to_serial):  # it has come, or expired
            self.changes.clear()
            self._size = 0
            return
        self.changes.append(change)
        self._size += change.size
        while self._size > self._limit:
            self._size -= self.changes.popleft().size


def _growth(one: SetChange) -> int:
    """Return by how many bytes a record set has grown, with the name."""
    before = 0 if one.before is None else len(one.name) + set_size(one.before)
    return (0 if one.after is None else len(one.name) + set_size(one.after)) - before
