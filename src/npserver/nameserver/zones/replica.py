"""The zones of a worker that change while they are served: takes the changes that the controller publishes.

A worker tells in its row up to which change all that it serves is there, so that an update can be answered then. During
a reload it has the zones of two configs, and both count: either may serve the next query.
"""

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


ASK_AGAIN_S = 0.25  # at first: a controller that is just ending, or taking another config, may not hear a worker
MAX_ASK_AGAIN_S = 8.0
AWAITED_S = 2.0  # a zone that the controller does not have for so long is not waited for by updates of others

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

    # _awaited  the zones that the controller was asked for, and when
    # _heard    the version of the newest change that was heard of

    __slots__ = ("__weakref__", "_awaited", "_change_tables", "_context", "_ends", "_heard", "_slot", "zones")

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
        self._awaited: dict[bytes, float] = {}
        self._heard = 0
        pubsub, own = context.pubsub, weakref.ref(self)
        _ALIVE.of(context).add(self)
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
        self._heard = max(self._heard, published.after)
        if published.after == zone.version:
            self._awaited.pop(apex, None)
        elif published.before == zone.version:
            change = published.read()
            zone.take(change, published.after)
            self._change(apex, change.sets)
        elif apex not in self._awaited:  # what was asked for comes before later changes
            self._awaited[apex] = self._context.loop.time()
            _ask(weakref.ref(self), apex, ASK_AGAIN_S)
        self._tell()

    def told(self, message: Any) -> None:
        """Take a whole zone."""
        whole = convert(message, Whole)
        zone = self.zones.get(bytes.fromhex(whole.apex))
        if zone is None:
            return
        if zone.version == whole.version:
            self._awaited.pop(zone.apex, None)
            return
        content, history = whole.read()
        changes = differences(zone.content, content)
        zone.content, zone.version, zone.history = content, whole.version, ZoneHistory(history)
        self._heard = max(self._heard, whole.version)
        self._change(zone.apex, changes)
        self._tell()

    def ask(self, apex: bytes, again_s: float) -> None:
        """Ask the controller for a zone that is waited for, and again after a while."""
        if apex in self._awaited:
            asked = Asked(self._context.worker, apex.hex())
            self._context.pubsub.tell(CONTROLLER, ASK, as_message(asked))
            self._context.loop.call_later(again_s, _ask, weakref.ref(self), apex, min(again_s * 2, MAX_ASK_AGAIN_S))

    def _tell(self) -> None:
        """Tell the controller up to which change all is there: nothing while a zone is waited for."""
        alive, since = list(_ALIVE.of(self._context)), self._context.loop.time() - AWAITED_S
        is_whole = all(at < since for one in alive for at in one._awaited.values())
        self._context.row.slots[self._slot] = max(one._heard for one in alive) if is_whole else 0

    def _change(self, apex: bytes, changes: tuple[SetChange, ...]) -> None:
        self._awaited.pop(apex, None)
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


def _ask(own: weakref.ref[ZoneReplicas], apex: bytes, again_s: float) -> None:
    if (replicas := own()) is not None:
        replicas.ask(apex, again_s)


#: Those of the config that is served, and of the one that a reload brings or leaves.
_ALIVE: PerProcess[weakref.WeakSet[ZoneReplicas]] = PerProcess(lambda context: weakref.WeakSet())


def _end(ends: list[Callable[[], None]]) -> None:
    for end in ends:
        end()
