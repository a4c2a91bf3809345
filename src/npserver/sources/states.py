"""What all processes know of data from files and URLs, for the status page and the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import MsgspecError, Struct, convert, to_builtins

if TYPE_CHECKING:
    from npserver.runtime.pubsub import PubSub

NETWORKS, BLOCK_LISTS = "networks:states", "dns_block:states"  # topics


class SetState(Struct, frozen=True):
    """What people are told of the data of one name."""

    name: str
    source: str  # a path, or the host of a URL
    size: int  # entries of a list, nodes of a database
    at: float  # the date of the data: when a list was written or fetched, a database built; 0: there is none yet
    error: str = ""  # why it is not newer


def publish_states(pubsub: PubSub, topic: str, states: list[SetState]) -> None:
    """Tell all processes."""
    pubsub.publish(topic, to_builtins(states))


def published_states(pubsub: PubSub, topic: str) -> list[SetState]:
    """Return those that were published last."""
    try:
        return convert(pubsub.latest.get(topic) or [], list[SetState])
    except MsgspecError:
        return []
