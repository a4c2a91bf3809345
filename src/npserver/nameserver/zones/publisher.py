"""Tells all processes of the changes of zones, in the controller, and whole zones to the workers that ask for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import convert

from npserver.nameserver.zones.messages import ASK, WHOLE, Asked, Published, Whole, as_message, topic_of

if TYPE_CHECKING:
    from npserver.dns.zone.content import Content, ZoneChange
    from npserver.nameserver.zones.history import ZoneHistory
    from npserver.runtime.context import Context


class ServedZone(Protocol):
    """A zone as all processes serve it."""

    apex: bytes
    content: Content
    version: int
    history: ZoneHistory

    def take(self, change: ZoneChange, version: int) -> None:
        """Go on to the zone after a change."""


class ZonePublisher:
    """Publishes the changes of some zones.

    Args:
        find: returns a zone that workers may ask for; None if it has none of that apex.
        version: that a change gets next is larger by one. A new controller does not repeat those of its predecessor.
    """

    __slots__ = ("_context", "_find", "version")

    def __init__(self, context: Context, find: Callable[[bytes], ServedZone | None], version: int) -> None:
        self._context = context
        self._find = find
        self.version = version  # of the last change

    def __repr__(self) -> str:
        return f"<ZonePublisher version={self.version}>"

    def publish(self, zone: ServedZone, change: ZoneChange) -> None:
        """Make a change, and tell all processes of it."""
        before, self.version = zone.version, self.version + 1
        zone.take(change, self.version)
        published = Published.of(before, zone.version, change)
        self._context.pubsub.publish(topic_of(zone.apex), as_message(published))

    def answer(self) -> Callable[[], None]:
        """Answer workers from now on, until what is returned is called."""
        return self._context.pubsub.subscribe(ASK, self._asked)

    def _asked(self, message: Any) -> None:
        asked = convert(message, Asked)
        zone = self._find(bytes.fromhex(asked.apex))
        if zone is not None:
            whole = Whole.of(zone.apex, zone.version, zone.content, list(zone.history.changes))
            self._context.pubsub.tell(asked.worker, WHOLE, as_message(whole))
