"""Connects to targets: resolves the name, races IPv6 and IPv4 addresses (RFC 8305), and shakes hands for TLS targets.

Called by the proxy, by forwards and by health checks. Names are resolved by `net.resolver`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, cast

from npserver.address import Address
from npserver.errors import Phase, UpstreamError, reason_of
from npserver.net.resolver import RESOLVER, Resolver
from npserver.net.socket_options import tune

if TYPE_CHECKING:
    from npserver.runtime.context import Context

STAGGER_S = 0.25  # between the starts of two attempts (RFC 8305 §5)
FULL_PAUSE_S, LONGEST_FULL_PAUSE_S = 0.005, 0.1  # before a Unix socket whose queue was full is tried again; doubled

_UNKNOWN_ISSUER = "; `tls.ca` names the authority to trust"
_OTHER_NAME = "; `tls.server_name` sets the name to expect"
#: Hints by OpenSSL's X509_V_ERR codes: self-signed, self-signed in the chain, no issuer, first unverified; wrong names.
_CERTIFICATE_HINTS = {
    18: _UNKNOWN_ISSUER, 19: _UNKNOWN_ISSUER, 20: _UNKNOWN_ISSUER, 21: _UNKNOWN_ISSUER, 62: _OTHER_NAME, 64: _OTHER_NAME
}  # fmt: skip
#: OpenSSL's reasons when the data received is not TLS.
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "UNEXPECTED_MESSAGE"})

P = TypeVar("P", bound=asyncio.Protocol)


async def dial(
    context: Context,
    address: Address,
    protocol_factory: Callable[[], P],
    *,
    timeout_s: float,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
    preface: bytes = b"",
    key: str = "",
) -> tuple[asyncio.Transport, P]:
    """Connect to `address` within `timeout_s`, its TLS handshake included.

    Args:
        protocol_factory: called once, for the connection that is used.
        server_name: sent (SNI) and verified; default: the host of the address.
        preface: a PROXY protocol header, sent before TLS begins; ignored without TLS.
        key: config key of the time limit, for the error.

    Raises: UpstreamError in phase RESOLVE or DIAL, with the target, the address tried and the reason.
    """
    factory: Callable[[], asyncio.Protocol] = protocol_factory
    if tls is not None:
        from npserver.tls.stream import TlsClient

        finished = context.loop.create_future()

        def factory() -> asyncio.Protocol:
            return TlsClient(tls, server_name or address.host, protocol_factory, finished, preface)

    transport: asyncio.BaseTransport | None = None
    try:
        async with asyncio.timeout(timeout_s):
            transport, protocol = await _connect(context, address, factory)
            if tls is not None:
                transport = await finished
                protocol = cast("asyncio.Transport", transport).get_protocol()  # type: ignore[assignment]
    except TimeoutError as error:
        _drop(transport)
        what = "no connection" if transport is None else "TLS handshake not complete"
        raise UpstreamError(
            f"{address}: {what} within {timeout_s:g} s", str(address), Phase.DIAL, timeout=True, key=key
        ) from error
    except OSError as error:
        _drop(transport)
        raise UpstreamError(f"{address}: {explain(error)}", str(address), Phase.DIAL) from error
    except asyncio.CancelledError:
        _drop(transport)
        raise
    return cast("asyncio.Transport", transport), cast("P", protocol)


def explain(error: OSError) -> str:
    """Return the reason of a failed connection, in lower case, with a hint if a config key helps."""
    if isinstance(error, ssl.SSLCertVerificationError):
        text = error.verify_message.rstrip(".")
        return f"certificate not accepted: {_lower_first(text)}{_CERTIFICATE_HINTS.get(error.verify_code, '')}"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or str(error)
        hint = "; does it speak TLS?" if reason in _NO_TLS else ""
        return f"TLS handshake failed: {reason.replace('_', ' ').lower()}{hint}"
    if error.errno:
        return os.strerror(error.errno).lower()
    return _lower_first(str(error)) or type(error).__name__


def _lower_first(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


async def _connect(
    context: Context, address: Address, factory: Callable[[], asyncio.Protocol]
) -> tuple[asyncio.Transport, asyncio.Protocol]:
    loop = context.loop
    if address.is_unix:
        return await _connect_unix(loop, factory, address.path)
    resolver = RESOLVER.of(context)
    found = resolver.known(address.host)
    if found is None:
        try:
            found = await resolver.resolve(address.host)
        except OSError as error:
            raise UpstreamError(
                f"{address}: host {address.host} does not resolve: {reason_of(error)}", str(address), Phase.RESOLVE
            ) from error
    try:
        if len(found) == 1:
            transport, protocol = await loop.create_connection(factory, found[0], address.port)
        else:
            winner = await _race(loop, resolver, found, address.port)
            transport, protocol = await loop.create_connection(factory, sock=winner)
    except OSError as error:
        if address.host not in found and error.errno:
            raise OSError(f"{os.strerror(error.errno).lower()} ({', '.join(found)})") from error
        raise
    keep_alive(transport)
    if (connection := transport.get_extra_info("socket")) is not None:
        with suppress(OSError):
            tune(connection, connection.getpeername()[0])
    return transport, protocol


async def _connect_unix(
    loop: asyncio.AbstractEventLoop, factory: Callable[[], asyncio.Protocol], path: str
) -> tuple[asyncio.Transport, asyncio.Protocol]:
    """Connect to a Unix socket. While its queue is full, which the kernel tells at once (unix(7)), try again."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        pause_s = FULL_PAUSE_S
        while True:
            try:
                connection.connect(path)
                break
            except BlockingIOError:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_FULL_PAUSE_S)
        return await loop.create_unix_connection(factory, sock=connection)
    except BaseException:
        connection.close()
        raise


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """Set SO_KEEPALIVE, so that the kernel notices a peer that has vanished."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError):  # already closed
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


async def _race(
    loop: asyncio.AbstractEventLoop, resolver: Resolver, hosts: tuple[str, ...], port: int
) -> socket.socket:
    """Return a socket to the address that answers first. The next is tried when one fails, or after `STAGGER_S`."""
    waiting = list(reversed(resolver.order(hosts)))
    tried: dict[asyncio.Task[socket.socket], str] = {}
    running: set[asyncio.Task[socket.socket]] = set()
    winner: socket.socket | None = None
    failure: OSError | None = None
    try:
        while winner is None and (waiting or running):
            if waiting:
                host = waiting.pop()
                running.add(attempt := loop.create_task(_open(loop, host, port)))
                tried[attempt] = host
            done, running = await asyncio.wait(
                running, timeout=STAGGER_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                error = task.exception()
                if error is None and winner is None:
                    winner = task.result()
                    del tried[task]
                elif error is None:
                    task.result().close()
                elif isinstance(error, OSError):
                    failure = failure or error
                else:
                    raise error
        if winner is not None:
            resolver.avoid(tried.values())
    finally:
        for task in running:
            task.add_done_callback(_discard)
            task.cancel()
    if winner is None:
        raise failure or OSError("no address")
    return winner


async def _open(loop: asyncio.AbstractEventLoop, host: str, port: int) -> socket.socket:
    one = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        one.setblocking(False)
        await loop.sock_connect(one, (host, port))
    except BaseException:
        one.close()
        raise
    return one


def _discard(task: asyncio.Task[socket.socket]) -> None:
    """Close the socket of an attempt that succeeded too late."""
    if not task.cancelled():
        with suppress(OSError):
            task.result().close()


def _drop(transport: asyncio.BaseTransport | None) -> None:
    if transport is not None:
        cast("asyncio.Transport", transport).abort()
