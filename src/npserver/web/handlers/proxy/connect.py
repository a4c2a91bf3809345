"""Connecting to a target for a proxied request, a question of `forward_auth` or a copy of `mirror`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from npserver.errors import UpstreamError
from npserver.net.dialer import dial
from npserver.net.proxy_protocol import encode_v1, encode_v2
from npserver.upstream.http1 import HttpClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from npserver.runtime.context import Context
    from npserver.upstream.client import UpstreamClient
    from npserver.upstream.response_sink import ClientSettings
    from npserver.upstream.target import Target
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.proxy.proxy import Proxy

C = TypeVar("C", bound=HttpClient)


class Caller(Protocol):
    """What asks a target: a `ProxyCall`, or a question of `forward_auth`."""

    is_over: bool  # it is answered, has failed, or the client has gone

    def connect(self, target: Target) -> Awaitable[UpstreamClient]:
        """Open a connection to a target. Raises: UpstreamError."""

    def send(self, client: UpstreamClient) -> None:
        """Send the request over a connection."""

    def try_again(self, error: UpstreamError, target: Target, *, sent: bool) -> None:
        """Try another target, or fail. `sent`: the one that failed may have received a part of the request."""


async def connect_for(caller: Caller, target: Target) -> None:
    """Connect to a target, then let the caller send its request, or try again. If it is over, pool the connection."""
    try:
        client = await caller.connect(target)
    except UpstreamError as error:
        if not caller.is_over:
            caller.try_again(error, target, sent=False)
        return
    if caller.is_over:
        client.return_to_pool()
    else:
        caller.send(client)


async def connect(proxy: Proxy, exchange: Exchange, target: Target, left_s: float) -> UpstreamClient:
    """Open a connection to a target of a proxy rule, which is told of the outcome. Raises: UpstreamError.

    `left_s`: what is left of `wait`; 0 without it.
    """
    settings = proxy.settings
    return await connect_target(exchange, target, settings.client, limit_s(proxy, left_s), settings.connect_key)


def limit_s(proxy: Proxy, left_s: float) -> float:
    """Return the time limit for connecting. `left_s`: what is left of `wait`; 0 without it."""
    timeout_s = float(proxy.upstream.section.proxy_timeout_seconds)
    return min(timeout_s or left_s, left_s) if left_s else timeout_s


async def connect_target(
    exchange: Exchange, target: Target, settings: ClientSettings, timeout_s: float, key: str
) -> UpstreamClient:
    """Open a connection to a target, which is told of the outcome, on behalf of an exchange.

    `key`: the config key of the time limit, for the log.

    Raises: UpstreamError.
    """
    client = await open_client(
        exchange.context, target, settings, timeout_s, key, is_upgrade=bool(exchange.request.upgrade)
    )
    if target.section.send_proxy is not None:
        client.write(_proxy_header(exchange, target.section.send_proxy))
    return client


async def open_client(
    context: Context, target: Target, settings: ClientSettings, timeout_s: float, key: str, *, is_upgrade: bool = False
) -> UpstreamClient:
    """Open a connection to a target, which is told of the outcome, without a PROXY header. Raises: UpstreamError.

    `is_upgrade`: the request asks for another protocol, which takes HTTP/1.1.
    """
    if target.settings.http2 is not None and not (is_upgrade and target.tls is not None):
        from npserver.upstream.http2.dialing import open_stream

        return cast("UpstreamClient", await open_stream(context, target, settings, timeout_s, key))
    return await dial_target(context, target, lambda: HttpClient(context, target, settings), timeout_s, key)


async def dial_target(context: Context, target: Target, make: Callable[[], C], timeout_s: float, key: str) -> C:
    """Open a connection to a target, which is told of the outcome, for one request at a time. Raises: UpstreamError.

    `make`: makes its protocol.
    """
    try:
        _, client = await dial(
            context,
            target.address,
            make,
            timeout_s=timeout_s,
            tls=target.settings.tls_http1 or target.tls,
            server_name=target.server_name,
            key=key,
        )
    except UpstreamError as error:
        target.connect_failed(str(error))
        raise
    target.connect_succeeded()
    return client


def _proxy_header(exchange: Exchange, version: str) -> bytes:
    """Return the PROXY protocol header, with the client's address and the address that it connected to."""
    if not exchange.client_port:  # a Unix socket
        return encode_v1(None, None) if version == "v1" else encode_v2(None, None)
    source = exchange.client_ip, exchange.client_port
    return encode_v1(source, exchange.local) if version == "v1" else encode_v2(source, exchange.local)
