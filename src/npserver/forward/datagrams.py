"""Forward datagrams: one session per client address, each with its own socket or stream to a target.

`DatagramForward` is the front of a listener with one or more such rules, chosen by `from`. Its sessions are kept in a
`SessionTable` in the order of their last use: a full table evicts the longest idle session, and sessions that are idle
for their `timeout` are ended. The table belongs to the listener and survives a reload: sessions keep their target.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from npserver.forward.target_connections import DatagramTargetConnection, StreamTargetConnection
from npserver.networks import plain_ip
from npserver.runtime.context import PerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.forward.session import Forward, Session
    from npserver.networks import Networks
    from npserver.runtime.context import Context
    from npserver.runtime.front import Client, DatagramSocket

log = logging.getLogger("npserver.forward")

NEVER = float("inf")
HELD_BYTES = 256 << 10  # datagrams held per session until its target is connected: four of the largest size
TABLE_HELD_BYTES = 64 << 20  # datagrams held by all sessions of a listener


@dataclass(frozen=True, slots=True)
class DatagramRoute:
    """One forward rule of a datagram listener, and the clients' networks it applies to (None: all clients)."""

    forward: Forward
    networks: Networks | None = None


class DatagramSession:
    """The session of one client: relays datagrams between the client and its target, both ways."""

    __slots__ = ("_held", "_held_bytes", "active", "client", "connection", "is_over", "received", "send", "sent",
                 "session", "socket", "table", "timeout_s")  # fmt: skip

    send: Callable[[bytes], object]  # sends to the target; on an OSError, call `connection.not_sent`

    def __init__(self, table: SessionTable, client: Client, socket: DatagramSocket, session: Session) -> None:
        self.table = table
        self.client = client
        self.socket = socket
        self.session = session
        self.timeout_s = session.forward.settings.timeout_s
        self.active = 0.0  # loop time of the last datagram in either direction
        self.received = 0
        self.sent = 0
        self.is_over = False
        self.send = self._hold
        self._held: list[bytes] = []
        self._held_bytes = 0
        is_stream = session.forward.upstream.targets[0].address.is_stream
        self.connection = StreamTargetConnection(self) if is_stream else DatagramTargetConnection(self)

    def __repr__(self) -> str:
        return f"<DatagramSession {self.session!r} received={self.received} sent={self.sent}>"

    def answer(self, data: bytes) -> None:  # hot: udp
        """Send a datagram from the target to the client."""
        if self.is_over:
            return
        table = self.table
        self.active = table.time()
        table.sessions.move_to_end(self.client)
        self.sent += len(data)
        self.socket.send(data, self.client)

    def release_held(self) -> list[bytes]:
        """Return the datagrams held until the target was connected; the connection sets `send` afterwards."""
        held, self._held = self._held, []
        self.table.held_bytes -= self._held_bytes
        self._held_bytes = 0
        return held

    def make_room(self) -> bool:
        """End the longest idle other session of the listener; return whether there was one."""
        return self.table.evict(self)

    def end(self, reason: str) -> None:
        """End the session once; the client's next datagram opens a new one."""
        if not self.is_over:
            self.is_over = True
            del self.table.sessions[self.client]
            self.release_held()
            self.connection.close()
            self.socket.forget(self.client)
            del self.connection, self.send  # they refer to this session: no cycle may be left
            self.session.end(self.session.live.listener.address.scheme, self.received, self.sent, reason)

    def _hold(self, data: bytes) -> None:
        size = len(data)
        if self._held_bytes + size <= HELD_BYTES and self.table.held_bytes + size <= TABLE_HELD_BYTES:
            self._held.append(data)
            self._held_bytes += size
            self.table.held_bytes += size


class SessionTable:
    """The sessions of one listener in this process, the longest idle first."""

    __slots__ = ("__weakref__", "context", "deadline", "held_bytes", "sessions", "shortest_s", "time")

    def __init__(self, context: Context) -> None:
        self.context = context
        self.time = context.loop.time
        self.sessions: OrderedDict[Client, DatagramSession] = OrderedDict()
        self.shortest_s = NEVER  # the shortest of the sessions' timeouts
        self.deadline = NEVER
        self.held_bytes = 0

    def __repr__(self) -> str:
        return f"<SessionTable {len(self.sessions)}>"

    def add(self, session: DatagramSession) -> None:
        """Add a new session, as the most recently used."""
        session.active = now = self.time()
        self.sessions[session.client] = session
        if session.timeout_s < self.shortest_s or len(self.sessions) == 1:
            self.shortest_s = session.timeout_s
            self.deadline = min(self.deadline, now + session.timeout_s)
        self.context.sweeper.watched.add(self)

    def evict(self, spared: DatagramSession | None = None, *, rule_slot: int | None = None) -> bool:
        """End the longest idle session but `spared`, or that of one rule; return False if there is none."""
        if rule_slot is None:
            longest_idle = next((one for one in self.sessions.values() if one is not spared), None)
        else:
            rules = ((one, one.session.forward.rule_slot) for one in self.sessions.values())
            longest_idle = next((one for one, slot in rules if slot == rule_slot), None)
        if longest_idle is None:
            return False
        longest_idle.end("evicted")
        return True

    def expire(self, now: float) -> None:
        """End the sessions that are idle for their timeout; called by the deadline sweeper."""
        idle: list[DatagramSession] = []
        oldest = now
        for session in self.sessions.values():
            if session.active + self.shortest_s > now:
                oldest = session.active
                break
            if session.active + session.timeout_s <= now:
                idle.append(session)
        for session in idle:
            session.end("timeout")
        if self.sessions:
            self.deadline = oldest + self.shortest_s
        else:
            self.shortest_s = self.deadline = NEVER
            self.context.sweeper.watched.discard(self)


#: The sessions of the datagram listeners of a process, by `Listener.key`: a reload takes them over.
SESSION_TABLES: PerProcess[dict[str, SessionTable]] = PerProcess(lambda context: {})


class DatagramForward:
    """The front of a datagram listener: finds or opens the session of each datagram's client."""

    def __init__(self, context: Context, key: str, routes: tuple[DatagramRoute, ...], most_sessions: int) -> None:
        """Create the front of the listener `key`.

        `most_sessions` bounds the sessions of this process whatever the rules allow: each takes a file descriptor.
        """
        self.context = context
        self.routes = routes
        self.most_sessions = most_sessions
        self._table_key = key
        self._table: SessionTable | None = None

    def __repr__(self) -> str:
        return f"<DatagramForward {self._table!r}>"

    @property
    def table(self) -> SessionTable:
        """The sessions of this listener, taken over from the front before a reload."""
        if self._table is None:
            tables = SESSION_TABLES.of(self.context)
            self._table = tables.setdefault(self._table_key, SessionTable(self.context))
        return self._table

    @property
    def clients(self) -> list[tuple[Client, DatagramSocket]]:
        """The clients that have a session, each with the socket it writes to."""
        return [(client, session.socket) for client, session in self.table.sessions.items()]

    def datagram(self, data: bytes, client: Client, socket: DatagramSocket) -> None:  # hot: udp
        """Relay a client's datagram to its target; opens a session for a new client."""
        table = self._table or self.table
        session = table.sessions.get(client)
        if session is None:
            session = self._open(table, client, socket)
            if session is None:
                return
        else:
            table.sessions.move_to_end(client)
            session.active = table.time()
            session.socket = socket
        session.received += len(data)
        try:
            session.send(data)
        except OSError as error:
            session.connection.not_sent(data, error)

    def close(self) -> None:
        """End all sessions at shutdown; after a reload the next front takes them over from `SESSION_TABLES`."""
        if self.context.draining and self._table is not None:
            for session in list(self._table.sessions.values()):
                session.end("shutdown")

    def _open(self, table: SessionTable, client: Client, socket: DatagramSocket) -> DatagramSession | None:
        ip = plain_ip(str(client[0]))
        forward = self.choose(ip)
        if forward is None:
            log.debug("%s: client %s refused: no forward rule matches (from)", socket.live.listener.name, ip)
            return None
        if key := "npserver drain" if socket.live.is_draining else forward.refused_by(ip):
            log.debug("client %s refused (%s)", ip, key)
            forward.count_refused()
            return None
        if forward.is_over_rate(ip):
            forward.count_refused()
            return None
        if not self._make_room(table, forward):
            key = forward.settings.max_connections_key
            log.debug("client %s refused: no session can make room for another (%s)", ip, key)
            forward.count_refused()
            return None
        opened = forward.begin(socket.live, (ip, int(str(client[1]))), socket.local(client))
        session = DatagramSession(table, client, socket, opened)
        table.add(session)
        session.connection.open()
        return None if session.is_over else session

    def _make_room(self, table: SessionTable, forward: Forward) -> bool:
        while forward.has_its_share():
            if not table.evict(rule_slot=forward.rule_slot):
                return False
        return len(table.sessions) < self.most_sessions or table.evict()

    def choose(self, ip: str) -> Forward | None:
        """Return the rule of clients at `ip`; None if there is none."""
        for route in self.routes:
            if route.networks is None or ip in route.networks:
                return route.forward
        return None
