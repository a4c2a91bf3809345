"""What a running server knows that its config does not say, for `npserver explain -live`.

That is the health of targets, drains, requests in progress, bans, networks from lists and the addresses of names. The
server collects it for a caller of the control socket, as the command `state`; the caller compiles the same config with
it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from npserver.listen.drains import LISTENER_DRAINS
from npserver.network_sets.states import BAN_TOPICS, DATA_TOPICS
from npserver.upstream.registry import DRAINS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from npserver.config.document import Document
    from npserver.runtime.pubsub import PubSub
    from npserver.runtime.scoreboard import Scoreboard

#: Topics whose values a caller may have: none has a secret.
TOPICS = (BAN_TOPICS, DATA_TOPICS, "resolved:", "dns:aliases", DRAINS, LISTENER_DRAINS)
MAX_VALUE_BYTES = 4 << 20  # of a topic; a longer one is left out, such as a large database of countries
#: Slots of the scoreboard that decide about requests.
_SLOTS = ("health.", "gauge.")


class LiveState(Struct, frozen=True):
    """The state of a server."""

    config: str = ""  # the digest of the config in use
    slots: dict[str, int] = {}  # of all processes together, by name; 0 is left out
    topics: dict[str, Any] = {}  # the latest values


def collect(board: Scoreboard, latest: Mapping[str, Any], document: Document) -> LiveState:
    """Return the state of this server. `latest`: the values of all topics."""
    slots = {
        name: total
        for name, slot in list(board.directory.names.items())
        if name.startswith(_SLOTS) and (total := board.total(slot))
    }
    topics = {topic: value for topic, value in latest.items() if topic.startswith(TOPICS) and _is_short(value)}
    return LiveState(digest(document), slots, topics)


def just_started(document: Document) -> LiveState:
    """Return the state in which nobody is banned: bans that the store has do not count."""
    return LiveState(topics={BAN_TOPICS + name: [] for name in document.config.networks})


def apply(state: LiveState, board: Scoreboard, pubsub: PubSub) -> None:
    """Put the state of a server into the board and the topics of a compilation that only answers questions."""
    row = board.row(-1)
    for name, value in state.slots.items():
        row.slots[row.slot(name)] = value
    pubsub.latest.update(state.topics)


def digest(document: Document) -> str:
    """Return a text that changes with the config, but for what decides about no request."""
    config, default = document.config, type(document.config)()
    asked = replace(config, workers=default.workers, backlog=default.backlog, logging=default.logging)
    return hashlib.sha256(repr(asked).encode("utf-8", "surrogatepass")).hexdigest()


def _is_short(value: Any) -> bool:
    return len(msgspec.json.encode(value)) <= MAX_VALUE_BYTES
