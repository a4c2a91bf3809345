"""The zones of a worker that change while they are served: takes the changes that the controller publishes."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct, convert

from npserver.dns.zone.content import Content, SetChange, ZoneChange, apply_to, differences, version_of
from npserver.nameserver.zones.history import ZoneHistory
from npserver.nameserver.zones.messages import (
    ASK,
    WHOLE,
    Asked,
    Whole,
    as_message,
    read_published,
    taken_slot,
    topic_of,
)
from npserver.runtime.context import PerProcess
from npserver.runtime.pubsub import CONTROLLER

if TYPE_CHECKING:
    from npserver.runtime.context import Context

#: Called with an apex, changes and the content that they lead to: makes them in the tables of all views.
ChangeTables = Callable[[bytes, tuple[SetChange, ...], Content], None]


class Held(Struct, eq=False):
    """What a process has of a zone, for the next config: what is transferred from elsewhere is not read anew."""

    content: Content
    version: int
    history: deque[ZoneChange]
    checked_at: float = 0.0


#: By apex.
HELD: PerProcess[dict[bytes, Held]] = PerProcess(lambda context: {})


class ZoneReplica:
    """One zone in one process."""

    # version  of the controller's zone; at first what `version_of` says of the content
    # history  the changes that have led to the content

    __slots__ = ("_owns_content", "apex", "content", "history", "version")

    def __init__(self, apex: bytes, content: Content) -> None:
        self.apex = apex
        self.content = content
        self.version = version_of(content)
        self._owns_content = False  # others have the first one, too
        self.history = ZoneHistory()

    def __repr__(self) -> str:
        return f"<ZoneReplica {self.apex!r} version={self.version}>"

    def take(self, change: ZoneChange, version: int) -> None:
        """Go on to the content after a change."""
        if not self._owns_content:
            self.content, self._owns_content = dict(self.content), True
        apply_to(self.content, change.sets)
        self.version = version
        self.history.add(change, self.content)


class ZoneReplicas:
    """The zones of one process. The name server keeps it."""

    __slots__ = ("__weakref__", "_change_tables", "_context", "_ends", "_slot", "zones")

    def __init__(
        self, context: Context, contents: Mapping[bytes, tuple[Content, Content]], change_tables: ChangeTables
    ) -> None:
        """Begin with the contents that the tables were compiled of, and go on to those that are served at first.

        `change_tables`: a method; it is held weakly.
        """
        self._context = context
        self.zones = {apex: self._begin(apex, content) for apex, (_, content) in contents.items()}
        self._change_tables = weakref.WeakMethod(change_tables)
        for apex, (base, content) in contents.items():
            if changes := differences(base, content):
                change_tables(apex, changes, content)
        self._slot = taken_slot(context)
        pubsub, own = context.pubsub, weakref.ref(self)
        self._ends = [pubsub.subscribe(WHOLE, partial(_call, own, None))]
        self._ends += [pubsub.subscribe(topic_of(apex), partial(_call, own, apex)) for apex in self.zones]
        weakref.finalize(self, _end, self._ends)

    def __repr__(self) -> str:
        return f"<ZoneReplicas {list(self.zones.values())}>"

    def _begin(self, apex: bytes, content: Content) -> ZoneReplica:
        zone, held = ZoneReplica(apex, content), HELD.of(self._context).get(apex)
        if held is not None and held.content is content:
            zone.version, zone.history = held.version, ZoneHistory(held.history)
        return zone

    def history(self, apex: bytes) -> Sequence[ZoneChange]:
        """Return the changes that have led to a zone, the oldest first; none if it does not change."""
        zone = self.zones.get(apex)
        return zone.history.changes if zone is not None else ()

    def heard(self, apex: bytes, message: Any) -> None:
        """Take a change that was published, or ask for the zone if it does not follow what is here."""
        zone, published = self.zones[apex], read_published(message)
        if published.after == zone.version:
            return
        if published.before == zone.version:
            change = published.read()
            zone.take(change, published.after)
            self._change(apex, change.sets)
        else:
            asked = Asked(self._context.worker, apex.hex())
            self._context.pubsub.tell(CONTROLLER, ASK, as_message(asked))

    def told(self, message: Any) -> None:
        """Take a whole zone."""
        whole = convert(message, Whole)
        zone = self.zones.get(bytes.fromhex(whole.apex))
        if zone is None or zone.version == whole.version:
            return
        content, history = whole.read()
        changes = differences(zone.content, content)
        zone.content, zone.version, zone.history = content, whole.version, ZoneHistory(history)
        self._change(zone.apex, changes)

    def _change(self, apex: bytes, changes: tuple[SetChange, ...]) -> None:
        slots, version = self._context.row.slots, self.zones[apex].version
        slots[self._slot] = max(slots[self._slot], version)
        zone, held = self.zones[apex], HELD.of(self._context)
        checked_at = held[apex].checked_at if apex in held else 0.0
        held[apex] = Held(zone.content, zone.version, zone.history.changes, checked_at)
        change_tables = self._change_tables()
        if change_tables is not None and changes:
            change_tables(apex, changes, zone.content)


def _call(own: weakref.ref[ZoneReplicas], apex: bytes | None, message: Any) -> None:
    replicas = own()
    if replicas is not None and message is not None:
        replicas.told(message) if apex is None else replicas.heard(apex, message)


def _end(ends: list[Callable[[], None]]) -> None:
    for end in ends:
        end()
