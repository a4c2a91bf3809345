"""What all processes know of the zones that change, for the status page and the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import MsgspecError, Struct, convert, to_builtins

if TYPE_CHECKING:
    from npserver.runtime.pubsub import PubSub

TOPIC = "dns:zones:states"


class ZoneState(Struct, frozen=True):
    """What people are told of a zone."""

    name: str
    source: str  # the path of its file
    serial: int
    names: int
    error: str = ""  # why it is not newer


def publish_states(pubsub: PubSub, states: list[ZoneState]) -> None:
    """Tell all processes."""
    pubsub.publish(TOPIC, to_builtins(states))


def published_states(pubsub: PubSub) -> list[ZoneState]:
    """Return those that were published last."""
    try:
        return convert(pubsub.latest.get(TOPIC) or [], list[ZoneState])
    except MsgspecError:
        return []
