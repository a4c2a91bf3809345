"""What each connection of a server in this process waits for, and the deadlines that end the wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from npserver.net.relay import Relay
from npserver.runtime.context import Context
from npserver.runtime.deadlines import NEVER
from npserver.web.handlers.proxy.call import ProxyCall
from npserver.web.handlers.proxy.response_buffer import ResponseBuffer
from npserver.web.server.http1.connection import Http1Connection
from npserver.web.server.http2.connection import Http2Connection

#: A wait: whoever waits, the state in words, and the names of the deadlines that run.
Wait = tuple[object, str, list[str]]


def waits(context: Context) -> Iterator[Wait]:
    """Return the waits of all clients' connections: one for each HTTP/2 stream that is open, else one for each."""
    for connection in list(context.connections):
        kind = type(connection).__name__
        if isinstance(connection, Http1Connection):
            if connection.state.value == "switched":
                continue  # its tunnel is below
            yield _http1(connection)
        elif isinstance(connection, Http2Connection):
            running = _running(connection, "Http2Connection")
            if not connection.streams:
                yield connection, "HTTP/2 without streams", running
            for exchange in list(connection.streams.values()):
                state, deadlines = _of_exchange(exchange)
                yield exchange, f"HTTP/2 stream, {state}", running + _running(exchange, "Http2Exchange") + deadlines
        else:
            yield connection, kind, _running(connection, kind)
    for one in list(context.sweeper.watched):
        if isinstance(one, Relay):
            yield one, "tunnel", _running(one, "Relay")


def _http1(connection: Http1Connection) -> Wait:
    state, deadlines = f"HTTP/1.1 {connection.state.value}", _running(connection, "Http1Connection")
    exchange = connection.exchange
    if exchange is not None:
        inner, more = _of_exchange(exchange)
        state, deadlines = f"{state}, {inner}", deadlines + more
    return connection, state, deadlines


def _of_exchange(exchange: Any) -> tuple[str, list[str]]:
    source = exchange if isinstance(exchange, ProxyCall) else exchange.source
    if isinstance(source, ResponseBuffer):
        if source._sender is None:
            return "buffered answer", []
        source = source._sender
    if not isinstance(source, ProxyCall):
        return "no call" if source is None else type(source).__name__, []
    state, deadlines = [], []
    if source.upload is not None:
        awaits_100 = _running(source.upload, "Upload")
        state.append(type(source.upload).__name__ + (" awaiting 100" if awaits_100 else ""))
        deadlines += awaits_100
    client = source.client
    if client is not None:
        state.append(f"upstream {client.state.value}")
        if client.is_write_paused:
            state.append("which reads nothing")
        if not client._is_reading:
            state.append("held back")
        deadlines += _running(client, "HttpClient")
    elif source.target is not None:
        state.append("dialling")
        dials = {task.get_name() for task in asyncio.all_tasks()}
        deadlines += [name for name in dials if name == f"connecting to {source.target.uri}"]  # `dial` has a time limit
    return ", ".join(state) or "no target", deadlines


def _running(one: Any, name: str) -> list[str]:
    return [name] if getattr(one, "deadline", NEVER) != NEVER else []
