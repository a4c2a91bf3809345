"""Connecting to a target for a proxied request. Used by `web.handlers.proxy.call`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.errors import UpstreamError
from npserver.net.dialer import dial
from npserver.net.proxy_protocol import encode_v1, encode_v2
from npserver.upstream.http1 import HttpClient

if TYPE_CHECKING:
    from npserver.upstream.target import Target
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.proxy.proxy import Proxy


async def connect(proxy: Proxy, exchange: Exchange, target: Target) -> HttpClient:
    """Open a connection to a target, which is told of the outcome. Raises: UpstreamError."""
    settings, context = proxy.settings, exchange.context
    try:
        _, client = await dial(
            context,
            target.address,
            lambda: HttpClient(context, target, settings.client),
            timeout_s=proxy.upstream.section.proxy_timeout_seconds,
            tls=target.tls,
            server_name=target.server_name,
            key=settings.connect_key,
        )
    except UpstreamError as error:
        target.connect_failed(str(error))
        raise
    target.connect_succeeded()
    if target.section.send_proxy is not None:
        client.write(_proxy_header(exchange, target.section.send_proxy))
    return client


def _proxy_header(exchange: Exchange, version: str) -> bytes:
    """Return the PROXY protocol header, with the client's address and the address that it connected to."""
    if not exchange.client_port:  # a Unix socket
        return encode_v1(None, None) if version == "v1" else encode_v2(None, None)
    source = exchange.client_ip, exchange.client_port
    return encode_v1(source, exchange.local) if version == "v1" else encode_v2(source, exchange.local)
