"""A target of an upstream: its settings, load, health, and pool of idle connections.

Used by proxy and forward rules. Load and health are on the scoreboard, which all workers share; each worker marks a
target down by itself after a failed connection. `TargetState` and the pool survive a reload: the targets of the old and
the new config share them.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from math import exp
from time import monotonic
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakValueDictionary

from npserver.address import Address
from npserver.http.request import NO_BODY
from npserver.http.response_parser import ResponseHead
from npserver.observe.histogram import RESPONSE_TIMES, Histogram
from npserver.runtime.context import PerProcess
from npserver.upstream.balancers import hash_seed
from npserver.upstream.health_state import Health
from npserver.upstream.pool import Pool
from npserver.upstream.sticky import cookie_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.errors import UpstreamError
    from npserver.runtime.context import Context
    from npserver.runtime.scoreboard import Row
    from npserver.upstream.config import TargetSection
    from npserver.upstream.http1 import HttpClient
    from npserver.upstream.http2.settings import Http2Settings
    from npserver.upstream.waiting_queue import WaitingQueue

log = logging.getLogger("npserver.upstream")

T = TypeVar("T")

#: The scoreboard row of targets without health checks: their health, in slot 0, is `Health.UNKNOWN`.
_UNCHECKED = memoryview(bytearray(8)).cast("q").toreadonly()


#: If no target is available, each target that only failed to connect is tried again this long after its failure: an
#: application that was restarted is reachable after a second, not only after `retry_timeout_seconds`.
PROBE_AFTER_S = 1.0


MEMORY_S = 10.0  # after this long, a response time counts for a third
MIN_TIME_S = 1e-6


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """A target of the config, and what is compiled for it."""

    section: TargetSection
    address: Address
    tls: ssl.SSLContext | None = None
    tls_http1: ssl.SSLContext | None = None  # the same without the offer of HTTP/2, for upgrades
    server_name: str | None = None  # for SNI and verification
    tls_identity: str = ""  # a text that differs for different TLS settings, whose connections need pools of their own
    is_checked: bool = False  # its health is known, by active checks or by the results of requests
    retry_timeout_s: float = 0.0  # how long the target is marked down after a failed connection; 0: it never is
    counted_as: str = ""  # of the targets of a range of ports: they share the counters of this name
    http2: Http2Settings | None = None  # of connections over HTTP/2; None: it is spoken to over HTTP/1.1


class TargetState:
    """The failed connections of this worker to a target, and how fast it responds. It survives a reload."""

    __slots__ = ("__weakref__", "_response_time_s", "_timed_at", "down_until", "failed_at", "recovered_at")

    def __init__(self) -> None:
        self.down_until = 0.0  # loop time; 0 unless the last connection failed
        self.failed_at = 0.0  # loop time of the last failed connection
        self.recovered_at = float("-inf")  # loop time of the first connection that succeeded after failed ones
        self._response_time_s = 0.0  # a moving average as of `_timed_at`; 0: not known
        self._timed_at = 0.0  # by the monotonic clock

    def observe(self, took_s: float, now: float) -> None:
        """Take a response time into the average: a longer one counts at once, a shorter one by and by."""
        before_s = self.response_time_s(now)
        weight = exp((self._timed_at - now) / MEMORY_S) if took_s < before_s else 0.0
        self._response_time_s = max(before_s * weight + took_s * (1 - weight), MIN_TIME_S)
        self._timed_at = now

    def response_time_s(self, now: float) -> float:
        """Return the average, which decays: a target that was slow is tried again. 0: not known."""
        return self._response_time_s * exp((self._timed_at - now) / MEMORY_S)


#: The states of the process's targets by upstream and URI, and their pools by URI, `send_proxy` and TLS settings.
STATES: PerProcess[WeakValueDictionary[str, TargetState]] = PerProcess(lambda context: WeakValueDictionary())
POOLS: PerProcess[WeakValueDictionary[str, Pool[HttpClient]]] = PerProcess(lambda context: WeakValueDictionary())


class Target:
    """A target of an upstream. `connect_failed` and `connect_succeeded` report attempts to connect to it."""

    __slots__ = (
        "_time", "active_slot", "address", "authority", "cached_head", "cached_response", "cached_size",
        "checked_slot", "connections_slot", "controller_slots", "cookie", "effective_weight", "ejected_slot",
        "ejections_slot",
        "errors_slot", "errors_tally", "failures_slot", "hash_seed", "health_since_slot", "health_slot", "host_line",
        "http2_slots", "identity", "is_draining", "max_connections", "pool", "queue", "requests_slot", "requests_tally",
        "section", "server_name", "settings", "slots", "state", "tallies", "times", "tls", "total", "upstream", "uri",
    )  # fmt: skip

    def __init__(self, context: Context, upstream: str, settings: TargetSettings) -> None:
        address = settings.address
        self._time = context.loop.time
        self.settings = settings
        self.section = settings.section
        self.address = address
        self.tls = settings.tls
        self.server_name = settings.server_name
        self.upstream = upstream
        self.is_draining = False  # it gets no new requests and connections: `Upstream.apply_drains`
        self.uri = str(Address(address.scheme, address.host, address.port, address.path if address.is_unix else ""))
        self.authority = authority(address)
        self.host_line = b"Host: %b\r\n" % self.authority.encode("ascii")
        self.identity = self.uri
        self.hash_seed = hash_seed(self.uri)
        self.cookie = cookie_value(self.uri)
        self.effective_weight = float(settings.section.weight)
        self.max_connections = settings.section.max_connections
        # The last response head with a Content-Length, and its parsed form. Responses are often the same: a head equal
        # to it need not be parsed.
        self.cached_head = b"\0"
        self.cached_response = ResponseHead(0, b"", NO_BODY, None, keep_alive=False)
        self.cached_size = -1  # bytes of that response, head and body; -1 if the connection is closed after it
        self.queue: WaitingQueue | None = None  # of requests that wait for a target of the upstream
        self.state = _shared(STATES.of(context), f"{upstream}\0{self.uri}", TargetState)
        pool_key = f"{self.uri}\0{settings.section.send_proxy}\0{settings.tls_identity}\0{settings.http2}"
        self.pool: Pool[HttpClient] = _shared(POOLS.of(context), pool_key, _pool_type(settings))
        row = context.row
        self.slots = row.slots
        self.tallies = row.tallies
        #: The row of the scoreboard in which the controller writes the health of targets.
        self.controller_slots = row.board.rows[0] if settings.is_checked else _UNCHECKED
        self.total = row.board.total
        counted_as = settings.counted_as or self.uri
        #: The times of its responses, by `metrics.times`: see `time_responses`.
        self.times: Histogram | None = None
        name = f"{upstream}.{counted_as}"
        self.requests_tally = row.tally(f"upstream.{name}.requests")
        self.failures_slot = row.slot(f"upstream.{name}.failures")
        self.connections_slot = row.slot(f"upstream.{name}.connections")
        self.active_slot = row.slot(f"gauge.upstream.{name}.active")
        self.requests_slot = row.slot(f"upstream.{name}.requests")
        self.errors_slot = row.slot(f"upstream.{name}.errors")
        self.errors_tally = row.tally(f"upstream.{name}.errors")  # published together with `requests_tally`
        self.ejections_slot = row.slot(f"upstream.{name}.ejections") if settings.is_checked else 0
        self.http2_slots = (
            (row.slot(f"gauge.upstream.{name}.http2_connections"), row.slot(f"gauge.upstream.{name}.http2_streams"))
            if settings.http2 is not None
            else (0, 0)
        )
        self.health_slot = row.slot(f"health.{name}") if settings.is_checked else 0
        #: The slots of what the health is made of: the result of active checks, and the loop time in milliseconds at
        #: which an ejection ends, 0 without one.
        self.checked_slot = row.slot(f"health.{name}.checked") if settings.is_checked else 0
        self.ejected_slot = row.slot(f"health.{name}.ejected") if settings.is_checked else 0
        #: The slot with the loop time, in milliseconds, at which the health last changed.
        self.health_since_slot = row.slot(f"health.{name}.since") if settings.is_checked else 0

    def __repr__(self) -> str:
        return f"<Target {self.uri} active={self.load} {'down' if self.state.down_until else self.health.name.lower()}>"

    def time_responses(self, row: Row, *, has_exemplars: bool) -> None:
        """Have its responses timed for the metrics, once. `has_exemplars`: with traces, by `metrics.exemplars`."""
        if self.times is None:
            counted_as = self.settings.counted_as or self.uri
            self.times = Histogram(row, RESPONSE_TIMES, self.upstream, counted_as, has_exemplars=has_exemplars)

    @property
    def load(self) -> int:
        """The number of active requests and connections over all workers."""
        return self.total(self.active_slot)

    @property
    def response_time_s(self) -> float:
        """The time that the target has lately taken to respond, as this worker has measured it; 0: not known."""
        return self.state.response_time_s(monotonic())

    @property
    def health(self) -> Health:
        """The health: the result of active checks, and `Health.DOWN` for an ejected target."""
        return Health(self.controller_slots[self.health_slot])

    @property
    def checked(self) -> Health:
        """The result of active checks."""
        return Health(self.controller_slots[self.checked_slot])

    @property
    def ejected_until(self) -> float:
        """Loop time at which an ejection ends; 0: the target is not ejected."""
        return self.controller_slots[self.ejected_slot] / 1000

    def set_checked(self, result: Health) -> None:
        """Publish the result of active checks; called in the controller."""
        was_known = self.checked is not Health.UNKNOWN
        self.controller_slots[self.checked_slot] = result
        self._publish_health(is_change=was_known)

    def set_ejected(self, until: float) -> None:
        """Eject the target until a loop time, or end that by 0; called in the controller."""
        self.controller_slots[self.ejected_slot] = int(until * 1000)
        self._publish_health(is_change=True)

    def _publish_health(self, *, is_change: bool) -> None:
        slots = self.controller_slots
        health = Health.DOWN if slots[self.ejected_slot] else self.checked
        if slots[self.health_slot] != health:
            if is_change:
                slots[self.health_since_slot] = int(self._time() * 1000)
            slots[self.health_slot] = health

    def is_full(self) -> bool:
        """Return whether the target has reached its `max_connections`."""
        return 0 < self.max_connections <= self.total(self.active_slot)

    def acquire(self) -> None:
        """Count a request or connection to this target. The caller calls `release` once when it has ended."""
        self.slots[self.active_slot] += 1
        self.tallies[self.requests_tally] += 1

    def cache_head(self, head: bytes, parsed: ResponseHead) -> None:
        """Cache a response head with a Content-Length, in place of the last one."""
        self.cached_head, self.cached_response = head, parsed
        self.cached_size = len(head) + parsed.body_bytes if parsed.keep_alive else -1

    def release(self) -> None:
        """Count the end of a request or connection, whether it succeeded or failed."""
        self.slots[self.active_slot] -= 1
        if self.queue is not None:
            self.queue.wake()

    def claim(self) -> bool:
        """Reserve a place for a request until `disclaim`, unless another worker has taken the last one just now."""
        self.slots[self.active_slot] += 1
        if 0 < self.max_connections < self.total(self.active_slot):
            self.slots[self.active_slot] -= 1
            return False
        state = self.state
        if state.down_until and not self.pool.idle:  # the others wait for the outcome of this connection, or a moment
            state.failed_at = self._time()
            state.down_until = max(state.down_until, state.failed_at + PROBE_AFTER_S)
        return True

    def disclaim(self) -> None:
        """End a reservation: the request has been counted by `acquire`, or has come to nothing."""
        self.slots[self.active_slot] -= 1

    def count_failure(self, error: UpstreamError | None = None) -> None:
        """Count a failure once the connection was made, unless `error` is none of the target's; not marked down."""
        if error is not None and error.unserved:
            return
        self.slots[self.failures_slot] += 1
        self.count_error()

    def count_error(self) -> None:
        """Count a request that the target has failed: `upstream.ejection` judges it by them."""
        self.tallies[self.errors_tally] += 1

    def count_connection(self, change: int) -> None:
        """Count a connection over HTTP/2 that has been opened, 1, or closed, -1."""
        self.slots[self.http2_slots[0]] += change

    def count_stream(self, change: int) -> None:
        """Count a stream over HTTP/2 that has begun, 1, or ended, -1."""
        self.slots[self.http2_slots[1]] += change

    def connect_failed(self, reason: str) -> None:
        """Count a failed connection, and mark the target down for `retry_timeout_seconds`."""
        self.count_failure()
        wait_s = self.settings.retry_timeout_s
        if not wait_s:
            return
        now = self._time()
        state = self.state
        if state.down_until <= now:
            message = "target %s marked down for %g s after a failed connection (retry_timeout_seconds): %s"
            log.warning(message, self.uri, wait_s, reason.removeprefix(f"{self.uri}: "))
        state.failed_at = now
        state.down_until = now + wait_s

    def connect_succeeded(self) -> None:
        """Count a connection, and mark the target up again, if a failed one had marked it down."""
        self.slots[self.connections_slot] += 1
        if self.state.down_until:
            self.state.down_until = 0.0
            self.state.recovered_at = self._time()
            log.info("target %s is reachable again", self.uri)
            if self.queue is not None:
                self.queue.wake()


def authority(address: Address) -> str:
    """Return the value of the Host field for an address; `localhost` for Unix sockets."""
    if address.is_unix:
        return "localhost"
    host = f"[{address.host}]" if ":" in address.host else address.host
    default = 443 if address.is_tls else 80
    return host if address.port in (0, default) else f"{host}:{address.port}"


def _pool_type(settings: TargetSettings) -> type[Pool[HttpClient]]:
    """Return the kind of pool for a target."""
    if settings.http2 is None:
        return Pool
    from npserver.upstream.http2.pool import Http2Pool

    return Http2Pool


def _shared(objects: WeakValueDictionary[str, T], name: str, make: Callable[[], T]) -> T:
    """Return the object with this name. It is kept for as long as a runtime uses it, and made if there is none."""
    found = objects.get(name)
    if found is None:
        found = objects[name] = make()
    return found
