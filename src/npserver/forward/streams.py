"""Forward a stream to a stream: relay each client's connection to a target, byte for byte.

`StreamForward` is the front of a listener with one such rule; `forward.stream_router` chooses among several. A
`ForwardedConnection` is the relay of one client: it keeps the client's first bytes while it connects to a target, tries
the next target if one fails, and ends when both sides have ended.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

from npserver.errors import UpstreamError
from npserver.forward.session import Endpoint, Forward, Session, endpoint_of
from npserver.net.connect import Attempt, new_attempt
from npserver.net.dialer import dial, explain
from npserver.net.relay import Relay
from npserver.net.relay_end import End
from npserver.net.resolver import RESOLVER
from npserver.runtime.deadlines import NEVER, PERIOD_S

if TYPE_CHECKING:
    from npserver.forward.waiting_connection import WaitingConnection
    from npserver.runtime.front import Live
    from npserver.upstream.target import Target


log = logging.getLogger("npserver.forward")


class StreamForward:
    """The front of a stream listener whose connections are relayed to stream targets."""

    def __init__(self, forward: Forward) -> None:
        self.forward = forward

    def __repr__(self) -> str:
        return f"<StreamForward {self.forward!r}>"

    def accept(self, live: Live, alpn: str | None = None) -> asyncio.Protocol:
        """Create the protocol of a new connection."""
        return ForwardedConnection(self.forward, live).client

    def close(self) -> None:
        """Do nothing: open connections continue after a reload."""


class ClientEnd(End):
    """The client side of a forwarded connection."""

    __slots__ = ()

    def proxied(self, source: Endpoint, destination: Endpoint) -> None:
        """Take the addresses of a PROXY header; called before `connection_made`."""
        cast("ForwardedConnection", self.relay).proxied_from = (source, destination)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio for a new client: start the relay."""
        relay = cast("ForwardedConnection", self.relay)
        self.transport = client = cast("asyncio.Transport", transport)
        self.is_open = True
        client.set_write_buffer_limits(relay.buffer_size)
        relay.accepted(client)


class ForwardedConnection(Relay):
    """The relay between a client's connection and its target's."""

    client_class = ClientEnd
    awaits_request = False

    __slots__ = ("_attempt", "_failure", "_waiting", "forward", "listener", "proxied_from", "session")

    def __init__(self, forward: Forward, listener: Live) -> None:
        settings = forward.settings
        super().__init__(
            forward.context, timeout_s=settings.timeout_s, buffer_size=settings.rule.buffer_size, on_end=_ended
        )
        self.forward = forward
        self.listener = listener
        self.proxied_from: tuple[Endpoint, Endpoint] | None = None  # from a PROXY header: client, local address
        self.session: Session | None = None
        self._attempt: Attempt | asyncio.Task[Any] | None = None  # the connection attempt in progress
        self._failure = "no target is available"  # why the last attempt failed
        self._waiting: WaitingConnection | None = None  # its place in the queue, if the upstream has `wait`

    @property
    def transport(self) -> asyncio.Transport:
        """The client's transport; aborting it ends the relay."""
        return self.client.transport

    def shut_down(self) -> None:
        """Do nothing: open connections continue until `timeouts.shutdown`."""

    def accepted(self, transport: asyncio.Transport) -> None:
        """Open a session for a connected client and connect to a target; refuse a client that is not admitted."""
        client, local = self.proxied_from or (endpoint_of(transport, "peername"), None)
        self.session = session = self.forward.open(self.listener, client, local)
        if session is None:
            self.is_over = True
            transport.abort()
            return
        session.transport = transport
        self.context.connections.add(self)
        self._connect(session)

    def expire(self, now: float) -> None:
        """Handle a passed deadline (idle relay, slow connect); called by the deadline sweeper."""
        if self.is_joined:
            super().expire(now)
        elif self._attempt is not None:
            self._attempt.cancel()
            self._failed(f"no connection within {self.forward.settings.rule.connect_timeout:g} s (connect_timeout)")
        else:
            self.abort("target does not answer")

    def ended(self) -> None:
        """End the session after both sides have closed."""
        self.context.connections.discard(self)
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None
        if self._waiting is not None:
            self._waiting.leave()
            self._waiting = None
        if self.session is not None:
            kind = self.listener.listener.address.scheme
            self.session.end(kind, self.client.received, self.target.received, self.reason)

    def _connect(self, session: Session) -> None:
        """Connect to the next target, or wait for one."""
        queue = self.forward.upstream.queue
        if queue is not None:
            from npserver.forward.waiting_connection import WaitingConnection

            if self._waiting is None:
                self._waiting = WaitingConnection(self, session, queue)
            self._waiting.enter()
            return
        target = session.next_target()
        if target is None:
            session.unreachable(self._failure)
            self.give_up(session)
            return
        self.connect_to(session, target)

    def give_up(self, session: Session) -> None:
        """Close the client's connection: there is no target for it."""
        self.reason = "target unreachable"
        self.client.reset()

    def connect_to(self, session: Session, target: Target, within_s: float = NEVER) -> None:
        """Connect to a target that the session has acquired, within `connect_timeout`, or less if `within_s` is less.

        The common case, a resolved address without TLS, steps the loop's own coroutine and creates no task.
        """
        if self.forward.sends_header:
            self.preface = session.proxy_header()
        context, address = self.context, target.address
        timeout_s = min(self.forward.settings.rule.connect_timeout, within_s)
        hosts = None if target.tls or address.is_unix else RESOLVER.of(context).known(address.host)
        if hosts is not None and len(hosts) == 1:
            self.deadline = context.sweeper.now + timeout_s + PERIOD_S
            context.sweeper.watched.add(self)
            self._attempt = attempt = new_attempt(context, self._take_target, self._attempted)
            attempt.start(hosts[0], address.port)
            return
        before_tls = b""
        if target.tls is not None:  # the PROXY header precedes the TLS handshake
            before_tls, self.preface = self.preface, b""
        dialing = dial(
            context,
            address,
            self._take_target,
            timeout_s=timeout_s,
            tls=target.tls,
            server_name=target.server_name,
            preface=before_tls,
            key="connect_timeout",
        )
        self._attempt = task = context.loop.create_task(dialing)
        task.add_done_callback(self._dialed)

    def _take_target(self) -> End:
        """Return the target side for the current attempt; a new one if an earlier attempt has used it."""
        if self.is_over:
            return End(self, "target")  # closes the connection, as the client has gone
        return self.make_target() if self.target.is_used() else self.target

    def _dialed(self, attempt: asyncio.Task[Any]) -> None:
        if attempt is self._attempt:  # otherwise this attempt was cancelled
            self._attempted(cast("Exception | None", attempt.exception()))

    def _attempted(self, error: Exception | None) -> None:
        if error is None:
            self._attempt = None
            if self.session is not None:
                self.session.target_reached()
        elif isinstance(error, UpstreamError):
            self._failed(str(error))
        elif isinstance(error, OSError):
            self._failed(explain(error))
        else:
            log.error("%s: unexpected error while connecting to a target", self.forward.settings.name, exc_info=error)
            self._failed("internal error")

    def _failed(self, reason: str) -> None:
        self._attempt = None
        self.deadline = NEVER
        session = self.session
        if session is None or self.is_over:
            return
        self._failure = reason
        if self._waiting is not None:
            self._waiting.failure = reason
        session.target_failed(reason)
        self._connect(session)


def _ended(connection: ForwardedConnection) -> None:
    connection.ended()
