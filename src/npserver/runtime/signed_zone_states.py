"""What all processes know of the signed zones, for the status page and the metrics. No key is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import MsgspecError, Struct, convert, to_builtins

if TYPE_CHECKING:
    from npserver.runtime.pubsub import PubSub

TOPIC = "dnssec:states"


class SignedZoneState(Struct, frozen=True):
    """What people are told of a signed zone. Times are in seconds since 1970."""

    name: str
    keys: tuple[str, ...]  # role and tag of each
    awaits_parent_since: float = 0.0  # from when the parent is to have another DS record; 0: it has the right one
    step: str = ""  # what is done next with the keys; "" if nothing is
    step_at: float = 0.0
    parent: str = ""  # what it has said last, when it was asked for the DS record


def publish_signed(pubsub: PubSub, states: list[SignedZoneState]) -> None:
    """Tell all processes."""
    pubsub.publish(TOPIC, to_builtins(states))


def published_signed(pubsub: PubSub) -> list[SignedZoneState]:
    """Return those that were published last."""
    try:
        return convert(pubsub.latest.get(TOPIC) or [], list[SignedZoneState])
    except MsgspecError:
        return []


def forget_signed(pubsub: PubSub) -> None:
    """Tell all processes that no zone is signed any more."""
    if published_signed(pubsub):
        publish_signed(pubsub, [])
