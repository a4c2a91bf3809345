"""Logs that an upstream refused a WebSocket for the Host it was sent, with the key that sends it another one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from npserver.errors import clip
from npserver.web.handlers.proxy.upgrade import foreign_host

if TYPE_CHECKING:
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.proxy.proxy import Proxy

log = logging.getLogger("npserver.proxy")


def upgrade_refused(proxy: Proxy, exchange: Exchange, head: bytes, status: int) -> None:
    """Called for an answer to an upgrade request that refuses it. `head`: the request's as it was forwarded."""
    request = exchange.request
    if proxy.has_logged_refusal or not (host := foreign_host(request, head, status)):
        return
    proxy.has_logged_refusal = True
    log.warning(
        "%s: %s answered a WebSocket request with %d, likely because its Origin %s is not the Host %s that was sent; "
        '"preserve_host": true sends the client\'s Host (logged once per rule and worker)',
        exchange.route.name, exchange.upstream, status, clip(request.fields[b"origin"].decode("latin-1")), clip(host),
    )  # fmt: skip
