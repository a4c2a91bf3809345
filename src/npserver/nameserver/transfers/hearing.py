"""NOTIFY as workers receive it (RFC 1996 §3.10): heeded from a zone's primaries, and told to the controller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct, to_builtins

from npserver.networks import plain_ip
from npserver.runtime.pubsub import CONTROLLER

if TYPE_CHECKING:
    from npserver.nameserver.transfers.peers import Peer
    from npserver.runtime.context import Context

NOTIFIED = "dns:zones:notified"  # the topic by which the controller is told
PAUSE_S = 0.1  # a worker tells the controller of a zone no more often


class Notified(Struct, frozen=True):
    """A worker has received a NOTIFY."""

    apex: str  # in hexadecimal digits
    client: str


class NotifyHearing:
    """The zones of a process that are transferred from primaries."""

    __slots__ = ("_addresses", "_context", "_keys", "_next_at")

    def __init__(self, context: Context, primaries: Mapping[bytes, Sequence[Peer]]) -> None:
        self._context = context
        self._addresses = {apex: {one.address for one in peers} for apex, peers in primaries.items()}
        self._keys = {apex: {one.key.name for one in peers if one.key is not None} for apex, peers in primaries.items()}
        self._next_at: dict[bytes, float] = {}  # when the controller may be told again of a zone, or will be

    def __repr__(self) -> str:
        return f"<NotifyHearing of {len(self._addresses)} zones>"

    def heard(self, apex: bytes, client: str, key: bytes | None) -> bool:
        """Tell the controller of a NOTIFY; return False if it is from nobody who may send it.

        `key`: the name of the key that has signed it.
        """
        addresses = self._addresses.get(apex)
        if addresses is None:
            return False
        address = plain_ip(client)
        if address not in addresses and key not in self._keys[apex]:
            return False
        row, now = self._context.row, self._context.loop.time()
        row.slots[row.slot("dns.notify.received")] += 1
        pause_s = self._next_at.get(apex, 0.0) - now
        if pause_s <= 0:
            self._next_at[apex] = now + PAUSE_S
            self._tell(apex, address)
        elif pause_s <= PAUSE_S:  # else it will be told already
            self._next_at[apex] += PAUSE_S
            self._context.loop.call_later(pause_s, partial(self._tell, apex, address))
        return True

    def _tell(self, apex: bytes, address: str) -> None:
        self._context.pubsub.tell(CONTROLLER, NOTIFIED, to_builtins(Notified(apex.hex(), address)))
