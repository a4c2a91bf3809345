"""A forwarded connection that waits while all targets of its upstream are full or down (`wait` of an upstream).

Made by `forward.streams` for upstreams with `wait`. The client's first bytes are kept meanwhile, as while connecting.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from npserver.forward.session import endpoint
from npserver.upstream.config import UpstreamTls

if TYPE_CHECKING:
    from npserver.forward.session import Session
    from npserver.upstream.target import Target
    from npserver.upstream.waiting_queue import WaitingQueue

log = logging.getLogger("npserver.forward")


class Connecting(Protocol):
    """The connection that waits: `forward.streams.ForwardedConnection`."""

    def connect_to(self, session: Session, target: Target, within_s: float) -> None:
        """Connect to a target that the session has acquired."""

    def give_up(self, session: Session) -> None:
        """Close the client's connection: there is no target for it."""


class WaitingConnection:
    """The place of a connection in the queue of its upstream; an `upstream.waiting_queue.Waiter`."""

    __slots__ = ("_connection", "_queue", "_session", "arrived", "failure", "ticket", "wait_s")

    def __init__(self, connection: Connecting, session: Session, queue: WaitingQueue) -> None:
        self._connection = connection
        self._session = session
        self._queue = queue
        self.ticket = 0
        self.arrived = 0.0
        self.wait_s = float(session.forward.upstream.section.wait)
        self.failure = ""  # why the last attempt failed

    def __repr__(self) -> str:
        return f"<WaitingConnection {self._session!r} ticket={self.ticket}>"

    def enter(self) -> None:
        """Connect to a target, or wait for one; again after each attempt that failed."""
        self._session.release()
        self._queue.enter(self, self._session.forward.upstream.most_waiting)

    def leave(self) -> None:
        """Called when the connection has ended."""
        self._queue.leave(self)

    def choose(self) -> Target | None:
        """Return a target of the active config; of the rule's own upstream, if the rule has TLS settings."""
        forward = self._session.forward
        upstream = forward.upstream
        if forward.settings.rule.tls == UpstreamTls():
            upstream = upstream.active
        return upstream.pick(self._session.client[0], self._session.id)

    def serve(self, target: Target) -> None:
        """Connect to a target."""
        self._session.take(target)
        self._connection.connect_to(self._session, target, self._queue.left_s(self))

    def give_up(self, reason: str, key: str) -> None:
        """Close the connection."""
        session = self._session
        forward = session.forward
        forward.count_failed()
        log.warning(
            "%s: closing connection of client %s (%s): %s",
            forward.settings.name, endpoint(session.client), key, reason,
        )  # fmt: skip
        self._connection.give_up(session)
