"""The addresses that are published at present, and the serials of the zones: found by the controller, told to all.

What was known last is kept in the store: a start publishes it until something else is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct, field

from npserver.runtime.context import PerProcess
from npserver.runtime.followers import Followers
from npserver.runtime.public_addresses import TOPIC, KnownAddress

if TYPE_CHECKING:
    from npserver.runtime.context import Context

STORE_KEY = "dns/published"


class Serial(Struct, frozen=True):
    """The serial of a zone, and the digest of the content that has it."""

    number: int
    digest: int


class Published(Struct, frozen=True):
    """Everything that changes while a config is served."""

    public: tuple[KnownAddress, ...] = ()
    private: tuple[str, ...] = ()  # of the interfaces, those that packets leave from first; not kept over restarts
    serials: dict[str, Serial] = field(default_factory=dict)  # by name of the zone

    def has_addresses_of(self, other: Published) -> bool:
        """Whether the addresses are the same, whoever told of them."""
        public = [one.address for one in self.public] == [one.address for one in other.public]
        return public and self.private == other.private


class PublishedState:
    """The state in one process."""

    __slots__ = ("_context", "_followers", "value")

    def __init__(self, context: Context) -> None:
        self.value: Published | None = None
        self._context = context
        self._followers = Followers()
        context.pubsub.subscribe(TOPIC, self._take)

    def __repr__(self) -> str:
        return f"<PublishedState {self.value}>"

    def publish(self, value: Published) -> None:
        """Tell all processes, this one included."""
        self._context.pubsub.publish(TOPIC, msgspec.to_builtins(value))

    def follow(self, changed: Callable[[], None]) -> None:
        """Call a method after each change, as long as its object lives."""
        self._followers.add(changed)

    def _take(self, value: Any) -> None:
        # None: a former config published, this one does not
        self.value = msgspec.convert(value, Published) if value else None
        self._followers.call()


#: The state of a process.
STATE = PerProcess(PublishedState)


def encode(value: Published) -> bytes:
    """Return what is kept in the store."""
    return msgspec.json.encode(msgspec.structs.replace(value, private=()))


def decode(data: bytes | None) -> Published:
    """Return what was kept; nothing if that is damaged."""
    try:
        return msgspec.json.decode(data or b"{}", type=Published)
    except msgspec.MsgspecError:
        return Published()
