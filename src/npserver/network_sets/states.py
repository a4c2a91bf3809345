"""What all processes know of the networks that come from data, for the status page and the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from npserver.runtime.pubsub import Withdrawing
from npserver.sources.states import NETWORKS, SetState, publish_states, published_states

if TYPE_CHECKING:
    from npserver.runtime.pubsub import PubSub

BAN_TOPICS = "networks:bans:"  # the topics of networks that learn begin with it: all bans in force
DATA_TOPICS = "networks:data:"  # the topics of the data begin with it


class BanAnswer(Struct, frozen=True):
    """The answer to a command about bans."""

    bans: list[dict[str, Any]] = []  # in force, each with its `network`
    error: str = ""


def ban_states(pubsub: PubSub) -> list[SetState]:
    """Return the states of the networks that learn: how many are banned, and since when the last of them is."""
    return [
        SetState(name, "learnt", len(bans), max([ban["at"] for ban in bans], default=0.0))
        for name, bans in published_bans(pubsub.latest).items()
    ]


def known_states(pubsub: PubSub) -> list[SetState]:
    """Return the states of all names."""
    return published_states(pubsub, NETWORKS) + ban_states(pubsub)


def published_bans(latest: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the bans in force by the name of their network, the oldest first. `latest`: the values of all topics."""
    return {
        topic.removeprefix(BAN_TOPICS): value
        for topic, value in latest.items()
        if topic.startswith(BAN_TOPICS) and value is not None
    }


def forget_bans(pubsub: PubSub, kept: frozenset[str] = frozenset()) -> None:
    """Withdraw the bans of networks that a former config had. `kept`: the names of those of the present one."""
    for name in published_bans(pubsub.latest).keys() - kept:
        pubsub.publish(BAN_TOPICS + name, None)


def forget(pubsub: PubSub, kept: frozenset[str] = frozenset()) -> None:
    """Withdraw the data that a former config has published. `kept`: the topics of the present one."""
    for topic, value in list(pubsub.latest.items()):
        if topic.startswith(DATA_TOPICS) and topic not in kept and value is not None:
            pubsub.publish(topic, None)


def forgetting(pubsub: PubSub, *, has_sets: bool = False, has_learnt: bool = False) -> list[Withdrawing]:
    """Return the services that withdraw what a former config has published, if this one has no such networks."""
    found = []
    if not has_sets and pubsub.latest.get(NETWORKS):
        found.append(Withdrawing(pubsub, _forget_all))
    if not has_learnt and published_bans(pubsub.latest):
        found.append(Withdrawing(pubsub, forget_bans))
    return found


def _forget_all(pubsub: PubSub) -> None:
    forget(pubsub)
    publish_states(pubsub, NETWORKS, [])
