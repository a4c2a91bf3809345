"""Opens connections over HTTP/2 to a target. Requests that need one at the same time share it, and the wait for it.

A connection counts as open once the target's SETTINGS have come: a target that does not speak HTTP/2 has then been sent
no request. An `https` target chooses the protocol in the TLS handshake (ALPN); where it does not choose `h2`, the
connection is an HTTP/1.1 one, for one request at a time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from npserver.errors import Phase, UpstreamError
from npserver.net.dialer import dial
from npserver.runtime.tasks import spawn
from npserver.upstream.http1 import HttpClient
from npserver.upstream.http2.connection import Http2Connection

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from npserver.runtime.context import Context
    from npserver.upstream.http2.pool import Http2Pool
    from npserver.upstream.response_sink import ClientSettings
    from npserver.upstream.target import Target


class _Chooser(asyncio.Protocol):
    """The protocol of a TLS connection until the handshake has shown which version of HTTP the target has chosen."""

    def __init__(self, context: Context, target: Target, settings: ClientSettings) -> None:
        self._arguments = context, target, settings

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
        is_http2 = tls.selected_alpn_protocol() == "h2"
        chosen = _connection(*self._arguments) if is_http2 else HttpClient(*self._arguments)
        cast("asyncio.Transport", transport).set_protocol(chosen)
        chosen.connection_made(transport)


def _connection(context: Context, target: Target, settings: ClientSettings) -> Http2Connection:
    http2 = target.settings.http2
    assert http2 is not None
    return Http2Connection(context, target, http2, settings, cast("Http2Pool", target.pool))


def protocol_factory(context: Context, target: Target, settings: ClientSettings) -> Callable[[], asyncio.Protocol]:
    """Return what makes the protocol of a connection to a target."""
    if target.tls is not None:
        return lambda: _Chooser(context, target, settings)
    return lambda: _connection(context, target, settings)


async def open_stream(context: Context, target: Target, settings: ClientSettings, timeout_s: float, key: str) -> Any:
    """Return a stream for a request, over a connection that is there or a new one. Raises: UpstreamError.

    It is an HTTP/1.1 connection if the target has chosen that. The time limit is for all waiting for the connections of
    others together, and for one of its own. `key`: the config key of the limit, for the log.
    """
    pool = cast("Http2Pool", target.pool)
    is_shared = bool(settings.pool_size)
    waits_until = context.loop.time() + timeout_s
    while is_shared and not pool.is_http1:
        stream = pool.take(is_reused=False)
        if stream is not None:
            return stream
        dialing = pool.dialing
        if dialing is None:
            break
        try:
            async with asyncio.timeout_at(waits_until):
                await asyncio.shield(dialing)
        except TimeoutError:
            raise _timeout(target, timeout_s, key) from None
    made: asyncio.Future[Any] = context.loop.create_future()
    dialing = context.loop.create_future()
    if is_shared and pool.dialing is None:
        pool.dialing = dialing
    work = _dial(context, target, settings, timeout_s, key, made)
    task = spawn(work, f"connecting to {target.uri}", made.set_exception)
    task.add_done_callback(lambda task: _dialed(pool, dialing, task))
    return await made


def _dialed(pool: Http2Pool, dialing: asyncio.Future[None], task: asyncio.Task[UpstreamError | None]) -> None:
    """Let those that have waited for an attempt look for a stream, or fail as it has failed."""
    if pool.dialing is dialing:
        pool.dialing = None
    error = None if task.cancelled() or task.exception() is not None else task.result()
    if error is None:
        dialing.set_result(None)
    else:
        dialing.set_exception(error)
        dialing.exception()  # nobody may be waiting


async def _dial(
    context: Context, target: Target, settings: ClientSettings, timeout_s: float, key: str, made: asyncio.Future[Any]
) -> UpstreamError | None:
    """Connect. Return why it failed.

    The result of `made` is a stream of the connection for the caller, or an HTTP/1.1 connection.
    """
    protocol: Any = None
    try:
        async with asyncio.timeout(timeout_s):
            _, protocol = await dial(
                context,
                target.address,
                protocol_factory(context, target, settings),
                timeout_s=timeout_s,
                tls=target.tls,
                server_name=target.server_name,
                key=key,
            )
            if isinstance(protocol, Http2Connection):
                await protocol.ready
    except TimeoutError:
        if protocol is not None:
            protocol.abort()
        return _failed(target, _timeout(target, timeout_s, key), made)
    except UpstreamError as error:
        return _failed(target, error, made)
    return _opened(target, settings, protocol, made)


def _opened(target: Target, settings: ClientSettings, protocol: Any, made: asyncio.Future[Any]) -> UpstreamError | None:
    pool = cast("Http2Pool", target.pool)
    pool.is_http1 = not isinstance(protocol, Http2Connection)
    if not pool.is_http1:
        if not protocol.has_room:
            protocol.leave()
            reason = f"{target.uri}: the target allows no requests (SETTINGS_MAX_CONCURRENT_STREAMS 0)"
            return _failed(target, UpstreamError(reason, target.uri, Phase.DIAL), made)
        if settings.pool_size:
            pool.connections.append(protocol)
    target.connect_succeeded()
    client = protocol.open_stream(is_reused=False) if not pool.is_http1 else protocol
    if made.cancelled():
        client.return_to_pool()
    else:
        made.set_result(client)
    return None


def _failed(target: Target, error: UpstreamError, made: asyncio.Future[Any]) -> UpstreamError:
    target.connect_failed(str(error))
    if not made.cancelled():
        made.set_exception(error)
        made.exception()  # nobody may be waiting any more
    return error


def _timeout(target: Target, timeout_s: float, key: str) -> UpstreamError:
    reason = f"{target.uri}: no HTTP/2 connection within {timeout_s:g} s"
    return UpstreamError(reason, target.uri, Phase.DIAL, timeout=True, key=key)
