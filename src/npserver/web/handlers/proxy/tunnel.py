"""Tunnels after a 101 response: relays bytes between client and upstream, and counts and logs them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from npserver.net.relay import Relay

if TYPE_CHECKING:
    from npserver.upstream.target import Target
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.proxy.config import ProxyRule


def open_tunnel(
    exchange: Exchange,
    fields: bytes,
    upstream: asyncio.Transport,
    early: bytes,
    rule: ProxyRule,
    target: Target,
) -> None:
    """Answer 101 with `fields` and join the transports. `early` is what the upstream sent after its 101.

    The target, which is acquired, is released when both connections are gone.
    """

    def ended(relay: Relay) -> None:
        exchange.switched_closed(relay.client.received, relay.target.received, relay.reason)
        target.release()

    relay = Relay(
        exchange.context,
        timeout_s=rule.timeouts.tunnel_idle,
        buffer_size=rule.buffer_size,
        on_end=ended,
        splices=not exchange.request.is_connect and upstream.get_extra_info("socket") is not None,
    )
    relay.tunnel_target = target
    client, early_client = exchange.switch(fields)
    relay.adopt(client, upstream, early_client, early)
