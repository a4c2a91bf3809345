"""What all processes know of the zones that change, for the status page and the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import MsgspecError, Struct, convert, to_builtins

if TYPE_CHECKING:
    from npserver.runtime.pubsub import PubSub

TOPIC = "dns:zones:states"
SECONDARIES = "dns:zones:secondaries"  # of those that are transferred from primaries


class ZoneState(Struct, frozen=True):
    """What people are told of a zone."""

    name: str
    source: str  # the path of its file, or the address of its primary
    serial: int
    names: int
    error: str = ""  # why it is not newer
    next_at: float = 0.0  # when the primary is asked again, in seconds since 1970; 0 for zones of ours
    checked_at: float = 0.0  # when the primary confirmed it last


def publish_states(pubsub: PubSub, states: list[ZoneState], topic: str = TOPIC) -> None:
    """Tell all processes."""
    pubsub.publish(topic, to_builtins(states))


def published_zones(pubsub: PubSub) -> list[ZoneState]:
    """Return those that were published last."""
    found: list[ZoneState] = []
    for topic in (TOPIC, SECONDARIES):
        try:
            found += convert(pubsub.latest.get(topic) or [], list[ZoneState])
        except MsgspecError:
            continue
    return found


def forget_secondaries(pubsub: PubSub) -> None:
    """Tell all processes that no zone is transferred from a primary any more."""
    publish_states(pubsub, [], SECONDARIES)
