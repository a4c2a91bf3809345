"""The addresses of others' names that ALIAS records lead to, as all processes know them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from npserver.dns.message import codes
from npserver.runtime.context import PerProcess
from npserver.runtime.followers import Followers

if TYPE_CHECKING:
    from npserver.dns.zone.tables import RecordSet
    from npserver.runtime.context import Context
    from npserver.runtime.pubsub import PubSub

TOPIC = "dns:aliases"


class AliasAddresses:
    """The addresses in one process, by name and type: see `dns.zone.aliases.Known`."""

    __slots__ = ("__weakref__", "_followers", "known")

    def __init__(self, context: Context) -> None:
        self.known: dict[tuple[bytes, int], RecordSet] = {}
        self._followers = Followers()
        context.pubsub.subscribe(TOPIC, self._take)

    def __repr__(self) -> str:
        return f"<AliasAddresses {len(self.known)} known>"

    def follow(self, changed: Callable[[], None]) -> None:
        """Call a method after each change, as long as its object lives; that of the config before no more."""
        self._followers = Followers()
        self._followers.add(changed)

    def _take(self, message: Any) -> None:
        self.known = decode(message)
        self._followers.call()


#: The addresses of a process.
ADDRESSES = PerProcess(AliasAddresses)


def encode(known: Mapping[tuple[bytes, int], RecordSet]) -> list[tuple[str, str, int, list[str]]]:
    """Return the addresses as other processes are told of them."""
    return [
        (name.hex(), codes.type_name(rtype), ttl, [one.hex() for one in data])
        for (name, rtype), (ttl, data) in known.items()
    ]


def decode(message: Any) -> dict[tuple[bytes, int], RecordSet]:
    """Return what `encode` was given."""
    return {
        (bytes.fromhex(name), codes.TYPES[kind]): (ttl, tuple([bytes.fromhex(one) for one in data]))
        for name, kind, ttl, data in message or ()
    }


def forget_aliases(pubsub: PubSub) -> None:
    """Tell all processes that no addresses are asked for any more."""
    pubsub.publish(TOPIC, None)
