"""Upstreams: groups of targets that share the traffic.

Made by `upstream.compile`, and used by proxy rules, forward rules, and DNS policies with `upstream://` addresses.
"""

from __future__ import annotations

import random
from math import ceil
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from msgspec.structs import replace

from npserver.config.units import parse_percent
from npserver.net.resolver import RESOLVER
from npserver.upstream.balancers import Balancer, make_balancer
from npserver.upstream.health_state import Health, ramp
from npserver.upstream.registry import DRAINS, REGISTERED, NamedTarget, key_of
from npserver.upstream.retry_budget import BudgetedRetry, CountedRetry, RetryBudget, retries_slot
from npserver.upstream.target import PROBE_AFTER_S, Target
from npserver.upstream.waiting_queue import WaitingQueue, queue_of

if TYPE_CHECKING:
    from collections.abc import Container

    from npserver.runtime.context import Context
    from npserver.upstream.config import UpstreamSection
    from npserver.upstream.retry import RetryPolicy

DEFAULT_QUEUE = 100  # requests and connections that may wait


class Follower(Protocol):
    """An object that keeps a copy of `Upstream.only_target`."""

    def upstream_changed(self) -> None:
        """Called when it has changed."""


class Upstream:
    """A named group of targets, or the single target whose address stands in a rule."""

    def __init__(
        self,
        context: Context,
        name: str,
        section: UpstreamSection,
        targets: tuple[Target, ...],
        base: Upstream | None = None,
    ) -> None:
        """Create it.

        Args:
            context: of the process.
            name: the name in the config, or the URI of a single target.
            section: the keys of the config or their defaults; its targets are those in `targets`.
            targets: in the order of the config.
            base: the upstream of the config whose keys a rule overrides.
        """
        self.context = context
        self.name = name
        self.section = section
        self.targets = targets
        retry_on, row = frozenset(section.retry_on), context.row
        self.retry: RetryPolicy = CountedRetry(section.retries, retry_on, row=row, slot=retries_slot(row, name))
        if section.retry_budget is not None:
            budget = RetryBudget(context, name, targets, budget_share(section.retry_budget))
            self.retry = BudgetedRetry(section.retries, retry_on, budget=budget)
        self._balancer: Balancer = make_balancer(section.balance, random.random)
        self._time = context.loop.time
        self._base = base
        #: Where requests wait for a target; None if they do not.
        self.queue: WaitingQueue | None = None
        if section.wait:
            self.queue = queue_of(context, name)
            for one in targets:
                one.queue = self.queue
        self._single: Target | None = None
        #: The target of all requests, if it is the only one and has neither health checks nor `max_connections`.
        self.only_target: Target | None = None
        #: Called when `only_target` has changed.
        self.followers: WeakSet[Follower] = WeakSet()
        self._choose_among(targets)
        REGISTERED.of(context).add(self)
        if (drains := context.pubsub.latest.get(DRAINS)) is not None:
            self.apply_drains(drains)

    def __repr__(self) -> str:
        return f"<Upstream {self.name} {self.section.balance} targets={len(self.targets)}>"

    def _choose_among(self, targets: tuple[Target, ...]) -> None:
        """Use these targets and no others, from the next request on: no request asks which are drained."""
        self._primary = tuple(one for one in targets if not one.section.backup and one.section.weight)
        self._backup = tuple(one for one in targets if one.section.backup and one.section.weight)
        # the only target is always tried, unless requests can wait until it is reachable again
        is_single = len(self.targets) == len(targets) == 1 and not self.section.wait
        single = self._single = targets[0] if is_single else None
        is_simple = single is not None and not single.settings.is_checked and not single.max_connections
        self.only_target = single if is_simple else None
        self._by_cookie = {one.cookie: one for one in targets}
        for follower in list(self.followers):
            follower.upstream_changed()

    def apply_drains(self, value: dict[str, Any]) -> None:
        """Leave drained targets alone, by the value of the topic `DRAINS`, and use others again."""
        drained = value["targets"]
        changed = [one for one in self.targets if one.is_draining != (key_of(self.name, one.uri) in drained)]
        for one in changed:
            one.is_draining = not one.is_draining
        self._choose_among(tuple(one for one in self.targets if not one.is_draining))
        if self.queue is not None:
            self.queue.wake()
        for one in changed:
            if one.is_draining and one.settings.http2 is None:
                for client in list(one.pool.idle):
                    client.close()

    def with_keys(self, **keys: Any) -> Upstream:
        """Return an upstream of the same targets with other values of some keys, as a rule overrides them."""
        changes = {key: value for key, value in keys.items() if value not in (None, getattr(self.section, key))}
        section = replace(self.section, **changes)
        return Upstream(self.context, self.name, section, self.targets, self.base) if changes else self

    def pick(
        self, client_ip: str, connection_id: int, tried: Container[Target] = (), key: bytes = b""
    ) -> Target | None:
        """Return a target that is up, below its `max_connections` and not in `tried`; None if there is none.

        `key`: for `balance` `hash`; empty: the address. The caller counts the request with `Target.acquire`.
        """
        single = self._single
        if single is not None:
            return single if self._is_usable(single, tried) else None
        now = self._time()
        usable = [one for one in self._primary if one.state.down_until <= now and self._is_usable(one, tried)]
        if not usable:
            usable = [one for one in self._backup if one.state.down_until <= now and self._is_usable(one, tried)]
            if not usable:
                return self._probe(now, tried)
        if len(usable) == 1:
            return usable[0]
        if self.section.slow_start:
            self._apply_slow_start(usable, now)
        if not key:
            key = connection_id.to_bytes(8, "little") if self.section.balance == "conn-hash" else client_ip.encode()
        return self._balancer.choose(usable, key)

    def pick_sticky(self, cookie: bytes) -> Target | None:
        """Return the target that the value of a sticky cookie names; None if it is unknown or cannot be used."""
        target = self._by_cookie.get(cookie)
        if target is None or target.state.down_until > self._time() or not self._is_usable(target, ()):
            return None
        return target

    @property
    def named(self) -> list[NamedTarget]:
        """The targets by their names."""
        waits = bool(self.section.wait)
        return [
            NamedTarget(self.name, one.settings.counted_as or one.uri, one.section.weight, one.section.backup, waits)
            for one in self.targets
        ]

    @property
    def base(self) -> Upstream:
        """The upstream as the config has it, without the keys that a rule overrides."""
        return self._base or self

    @property
    def active(self) -> Upstream:
        """The upstream of the active config, for requests and connections that wait; this one if it is of that config.

        It is without the keys of a rule. A rule with TLS settings stays with its own upstream.
        """
        current: Upstream | None = self.queue.current if self.queue is not None else None
        return self if current is None or current is self.base else current

    @property
    def pool_size(self) -> int:
        """The number of idle connections that a worker keeps to each target.

        A PROXY header speaks for one client only: connections that begin with one are not kept for others.
        """
        section = self.section
        is_kept = section.keepalive and not any(target.section.send_proxy for target in self.targets)
        return section.keepalive_pool_size if is_kept else 0

    @property
    def most_waiting(self) -> int:
        """The number of requests and connections that may wait, over all workers."""
        return DEFAULT_QUEUE if self.section.queue is None else self.section.queue

    def retry_after_s(self) -> int:
        """Return the Retry-After of a 503 response: whole seconds until a target may be available again."""
        check = self.section.health_check
        if check and all(one.health is Health.DOWN for one in self.targets):
            return max(1, ceil(check.interval))
        return max(1, ceil(PROBE_AFTER_S))

    def why_no_target(self) -> str:
        """Return what keeps the targets from being used, for the end of a log message; "" if it is none of this."""
        down = sum(one.health is Health.DOWN for one in self.targets)
        full = sum(one.is_full() for one in self.targets if one.health is not Health.DOWN)
        draining = sum(one.is_draining for one in self.targets)
        reasons = []
        if draining:
            reasons.append(f"{draining} of {len(self.targets)} drained: npserver undrain")
        if full:
            hint = "" if self.section.wait else ": 'wait' lets requests wait"
            reasons.append(f"{full} of {len(self.targets)} at max_connections{hint}")
        if down:
            reasons.append(f"{down} of {len(self.targets)} unhealthy or ejected")
        return f" ({', '.join(reasons)})" if reasons else ""

    def healthy_addresses(self) -> list[str]:
        """Return the IP addresses of all targets that are up, for DNS answers. Host names count as last resolved."""
        now = self._time()
        resolver = RESOLVER.of(self.context)
        addresses: list[str] = []
        for target in self.targets:
            if target.is_draining or target.state.down_until > now or target.health is Health.DOWN:
                continue
            if target.address.is_unix:
                continue
            found = resolver.known(target.address.host) or ()
            addresses += [address for address in found if address not in addresses]
        return addresses

    def _is_usable(self, target: Target, tried: Container[Target]) -> bool:
        if target.controller_slots[target.health_slot] < 0 or target in tried:
            return False
        return not target.max_connections or not target.is_full()

    def _probe(self, now: float, tried: Container[Target]) -> Target | None:
        """Return the target whose failed connection is the longest ago, if that is `PROBE_AFTER_S` or more."""
        waiting = [
            one
            for one in self._primary or self._backup
            if one.state.failed_at + PROBE_AFTER_S <= now and self._is_usable(one, tried)
        ]
        return min(waiting, key=lambda one: one.state.failed_at, default=None)

    def _apply_slow_start(self, targets: list[Target], now: float) -> None:
        """Reduce the weights of targets that became available again less than `slow_start` ago."""
        for one in targets:
            healthy_since = one.controller_slots[one.health_since_slot] / 1000 or float("-inf")
            since_s = now - max(one.state.recovered_at, healthy_since)
            one.effective_weight = one.section.weight * ramp(since_s, self.section.slow_start)


def budget_share(text: str) -> float:
    """Return the value of `retry_budget` as a part of 1; 0 for an invalid one, which the compiler reports."""
    try:
        return parse_percent(text)
    except ValueError:
        return 0.0
