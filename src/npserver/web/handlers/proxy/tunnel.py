"""Tunnels after a 101 response: relays bytes between client and upstream, and counts and logs them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from npserver.net.relay import Relay

if TYPE_CHECKING:
    from npserver.web.exchange import Exchange


def open_tunnel(
    exchange: Exchange,
    fields: bytes,
    upstream: asyncio.Transport,
    early: bytes,
    *,
    idle_s: float,
    buffer_size: int,
    on_end: Callable[[], None],
) -> None:
    """Answer 101 with `fields` and join the transports. `early` is what the upstream sent after its 101.

    `on_end` is called once, when both connections are gone.
    """

    def ended(relay: Relay) -> None:
        exchange.switched_closed(relay.client.received, relay.target.received, relay.reason)
        on_end()

    relay = Relay(exchange.context, timeout_s=idle_s, buffer_size=buffer_size, on_end=ended)
    client, early_client = exchange.switch(fields)
    relay.adopt(client, upstream, early_client, early)
