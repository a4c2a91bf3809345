"""A compiled forward rule (`Forward`) and its sessions: one `Session` per connection or datagram client.

Shared by all forms of forwarding (`forward.streams`, `forward.messages`, `forward.datagrams`): access control, the
limit on sessions, target selection, counters and the access-log line.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from npserver.networks import plain_ip

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from npserver.forward.config import ForwardRule
    from npserver.limits.limiter import RateLimiter
    from npserver.networks import Networks
    from npserver.runtime.context import Context
    from npserver.runtime.front import Live
    from npserver.upstream.group import Upstream
    from npserver.upstream.target import Target

log = logging.getLogger("npserver.forward")

_ids = itertools.count(1)

#: An IP address or Unix socket path, and a port (0 for Unix sockets).
Endpoint = tuple[str, int]


@dataclass(frozen=True, slots=True)
class ForwardSettings:
    """A forward rule with its defaults filled in."""

    rule: ForwardRule
    name: str  # for logs: "dispatch[3]"
    timeout_s: float
    max_connections: int  # over all workers
    max_connections_key: str
    max_message_size: int  # bytes
    allow: Networks | None
    deny: Networks | None
    rate_limit_key: str = ""  # the config keys of the rate limit, for the log
    is_rate_dry_run: bool = False


class Forward:
    """A forward rule: its settings, its upstream, its counters."""

    __slots__ = ("_failed_slot", "_gauge_slot", "_received_slot", "_refused_slot", "_sent_slot", "_sessions_slot",
                 "_share", "_slots", "_total", "context", "limiter", "on_limited", "rule_slot", "sends_header",
                 "settings", "upstream")  # fmt: skip

    def __init__(
        self,
        context: Context,
        settings: ForwardSettings,
        upstream: Upstream,
        gauge: str,
        limiter: RateLimiter | None = None,
    ) -> None:
        """Create the rule. `gauge` identifies its count of open sessions on the scoreboard, also across reloads."""
        self.limiter = limiter
        self.on_limited: Callable[[str], None] | None = None  # called with a client that is refused for its rate
        self.context = context
        self.settings = settings
        self.upstream = upstream
        row = context.row
        self._slots = row.slots
        self._total = row.board.total
        self._sessions_slot = row.slot("forward.sessions")
        self._gauge_slot = row.slot("gauge.forward.sessions")
        self.rule_slot = row.slot(f"gauge.forward.sessions.{gauge}")  # compared with `max_connections`
        self.sends_header = bool(settings.rule.send_proxy or any(one.section.send_proxy for one in upstream.targets))
        self._share = max(settings.max_connections // max(len(row.board.rows) - 1, 1), 1)
        self._refused_slot = row.slot("forward.refused")
        self._failed_slot = row.slot("forward.failed")
        self._received_slot = row.slot("forward.received_bytes")
        self._sent_slot = row.slot("forward.sent_bytes")

    def __repr__(self) -> str:
        return f"<Forward {self.settings.name} to {self.upstream.name} open={self._total(self.rule_slot)}>"

    def refused_by(self, ip: str) -> str:
        """Return the config key that keeps clients at `ip` out; "" if they are admitted.

        `ip` is "" for Unix sockets, which are in no network.
        """
        settings = self.settings
        if settings.deny is not None and ip in settings.deny:
            return f"{settings.name}.deny"
        return "" if settings.allow is None or ip in settings.allow else f"{settings.name}.allow"

    def is_over_rate(self, ip: str) -> bool:
        """Count a new client at `ip`; return whether it is over the rate limit, and log that it is."""
        limiter, settings = self.limiter, self.settings
        if limiter is None or not limiter.take(ip):
            return False
        level = limiter.count_limited()
        if settings.is_rate_dry_run:
            key = settings.rate_limit_key
            log.log(level, "%s: client %s is over the rate limit, and passes (%s.dry_run)", settings.name, ip, key)
            return False
        if self.on_limited is not None:
            self.on_limited(ip)
        log.log(level, "%s: client %s refused: over the rate limit (%s)", settings.name, ip, settings.rate_limit_key)
        return True

    def is_full(self) -> bool:
        """Whether all workers together have `max_connections` sessions open."""
        return self._total(self.rule_slot) >= self.settings.max_connections

    def has_its_share(self) -> bool:
        """Whether the rule is full and this worker has its equal share of `max_connections` or more.

        The kernel distributes clients unevenly: a worker with few sessions must not refuse clients because others
        have many.
        """
        return self.is_full() and self._slots[self.rule_slot] >= self._share

    def count_refused(self) -> None:
        """Count a client that was refused."""
        self._slots[self._refused_slot] += 1

    def count_failed(self) -> None:
        """Count a client for which no target could be reached."""
        self._slots[self._failed_slot] += 1

    def open(self, live: Live, client: Endpoint, local: Endpoint | None = None) -> Session | None:
        """Open a session; return None if the client is not admitted or the limit is reached.

        `local`: the address the client connected to, if a PROXY header named it.
        """
        if key := self.refused_by(client[0]):
            log.debug("client %s refused (%s)", client[0], key)
        elif self.is_full():
            log.warning(
                "%s: client %s refused: %d sessions are open (%s)",
                self.settings.name, client[0], self.settings.max_connections, self.settings.max_connections_key,
            )  # fmt: skip
        elif not self.is_over_rate(client[0]):
            return self.begin(live, client, local)
        self.count_refused()
        return None

    def begin(self, live: Live, client: Endpoint, local: Endpoint | None = None) -> Session:
        """Open a session without checks; the caller has made them."""
        slots = self._slots
        slots[self._sessions_slot] += 1
        slots[self._gauge_slot] += 1
        slots[self.rule_slot] += 1
        return Session(self, live, client, local)

    def closed(self, received: int, sent: int) -> None:
        """Count the end of a session; `received`, `sent`: bytes from and to its client."""
        slots = self._slots
        slots[self._gauge_slot] -= 1
        slots[self.rule_slot] -= 1
        slots[self._received_slot] += received
        slots[self._sent_slot] += sent


class Session:
    """One forwarded connection, or one client of a datagram listener."""

    __slots__ = ("client", "forward", "id", "live", "local", "started", "target", "transport", "tried")

    def __init__(self, forward: Forward, live: Live, client: Endpoint, local: Endpoint | None) -> None:
        self.forward = forward
        self.live = live
        self.client = client
        self.local = local
        self.id = next(_ids)
        self.started = forward.context.loop.time()
        self.target: Target | None = None  # acquired
        self.transport: asyncio.BaseTransport | None = None  # the client's, if it has one
        self.tried: set[Target] = set()

    def __repr__(self) -> str:
        return f"<Session {endpoint(self.client)} to {self.target.uri if self.target else None}>"

    def next_target(self) -> Target | None:
        """Choose and acquire a target not tried yet; None if there is none or `retries` are used up."""
        upstream = self.forward.upstream
        target = upstream.only_target
        if target is None or self.tried:
            self.release()
            if len(self.tried) > upstream.retry.retries:
                return None
            target = upstream.pick(self.client[0], self.id, self.tried)
            if target is None:
                return None
        self.tried.add(target)
        self.take(target)
        return target

    def take(self, target: Target) -> None:
        """Acquire a target."""
        target.acquire()
        self.target = target

    def target_failed(self, reason: str) -> None:
        """Report that the target could not be reached."""
        if self.target is not None:
            self.target.connect_failed(reason)

    def target_reached(self) -> None:
        """Report that the target is connected."""
        if self.target is not None:
            self.target.connect_succeeded()

    def unreachable(self, reason: str) -> None:
        """Count and log that no target could be reached; `reason`: why the last one failed."""
        forward = self.forward
        forward.count_failed()
        log.warning(
            "%s: no target of %s can be reached for client %s (forward_to): %s",
            forward.settings.name, forward.upstream.name, endpoint(self.client), reason,
        )  # fmt: skip

    def proxy_header(self) -> bytes:
        """Return the PROXY protocol header to send before any data; empty if `send_proxy` is not set."""
        target = self.target
        version = self.forward.settings.rule.send_proxy or (target.section.send_proxy if target else None)
        if version is None:
            return b""
        from npserver.net.proxy_protocol import encode_v1, encode_v2

        local = self.local or (endpoint_of(self.transport, "sockname") if self.transport else ("", 0))
        source, destination = (self.client, local) if self.client[1] else (None, None)  # Unix sockets have no port
        if version == "v1":
            return encode_v1(source, destination)
        is_datagram = target is not None and not target.address.is_stream
        return encode_v2(source, destination, datagram=is_datagram)

    def end(self, kind: str, received: int, sent: int, reason: str) -> None:
        """Release the target, update the counters and write the access-log line. Called once."""
        forward = self.forward
        uri = self.target.uri if self.target else ""
        self.release()
        forward.closed(received, sent)
        context = forward.context
        if context.access_log.enabled and forward.settings.rule.log:
            context.access_log.session(
                kind=kind,
                listener=self.live.listener.name,
                client=endpoint(self.client),
                target=uri or forward.upstream.name,
                received=received,
                sent=sent,
                duration_s=context.loop.time() - self.started,
                reason=reason,
            )

    def release(self) -> None:
        if self.target is not None:
            self.target.release()
            self.target = None


def endpoint_of(transport: asyncio.BaseTransport, name: str) -> Endpoint:
    """Return the client's endpoint ("peername") or the local one ("sockname"). Unix sockets: a path or "", port 0."""
    value = transport.get_extra_info(name)
    if isinstance(value, tuple):
        return plain_ip(value[0]), value[1]
    return (value if isinstance(value, str) else "", 0)


def endpoint(client: Endpoint) -> str:
    """Return the text for logs: `192.0.2.7:4711`, `[2001:db8::7]:4711`, a Unix socket's path or `unix`."""
    host, port = client
    if not port:
        return host or "unix"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
