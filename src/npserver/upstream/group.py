"""Upstreams: groups of targets that share the traffic.

Made by `upstream.compile`, and used by proxy rules, forward rules, and DNS policies with `upstream://` addresses.
"""

from __future__ import annotations

import random
from math import ceil
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from npserver.net.resolver import RESOLVER
from npserver.upstream.balancers import Balancer, make_balancer
from npserver.upstream.health_state import Health, ramp
from npserver.upstream.retry import RetryPolicy
from npserver.upstream.target import Target

if TYPE_CHECKING:
    from collections.abc import Container

    from npserver.runtime.context import Context
    from npserver.upstream.config import UpstreamSection

#: If no target is available, each target that only failed to connect is tried again this long after its failure: an
#: application that was restarted is reachable after a second, not only after `retry_timeout_seconds`.
PROBE_AFTER_S = 1.0


class Upstream:
    """A named group of targets, or the single target whose address stands in a rule."""

    def __init__(self, context: Context, name: str, section: UpstreamSection, targets: tuple[Target, ...]) -> None:
        """Create it. `section` has the keys of the config or their defaults; its targets are those in `targets`."""
        self.context = context
        self.name = name
        self.section = section
        self.targets = targets
        self.retry = RetryPolicy(section.retries, frozenset(section.retry_on))
        self._balancer: Balancer = make_balancer(section.balance, random.random)
        self._time = context.loop.time
        self._primary = tuple(one for one in targets if not one.section.backup and one.section.weight)
        self._backup = tuple(one for one in targets if one.section.backup and one.section.weight)
        self._single = targets[0] if len(targets) == 1 else None
        #: The target of all requests, if it is the only one and has neither health checks nor `max_connections`.
        self.only_target: Target | None = None
        if self._single and not self._single.settings.is_checked and not self._single.max_connections:
            self.only_target = self._single
        self._by_cookie = {one.cookie: one for one in targets}

    def __repr__(self) -> str:
        return f"<Upstream {self.name} {self.section.balance} targets={len(self.targets)}>"

    def with_keys(self, **keys: Any) -> Upstream:
        """Return an upstream of the same targets with other values of some keys, as a rule overrides them."""
        changes = {key: value for key, value in keys.items() if value not in (None, getattr(self.section, key))}
        return Upstream(self.context, self.name, replace(self.section, **changes), self.targets) if changes else self

    def pick(self, client_ip: str, connection_id: int, tried: Container[Target] = ()) -> Target | None:
        """Return a target that is up, below its `max_connections` and not in `tried`; None if there is none.

        The caller counts the request with `Target.acquire`.
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
        key = connection_id.to_bytes(8, "little") if self.section.balance == "conn-hash" else client_ip.encode()
        return self._balancer.choose(usable, key)

    def pick_sticky(self, cookie: bytes) -> Target | None:
        """Return the target that the value of a sticky cookie names; None if it is unknown or cannot be used."""
        target = self._by_cookie.get(cookie)
        if target is None or target.state.down_until > self._time() or not self._is_usable(target, ()):
            return None
        return target

    def retry_after_s(self) -> int:
        """Return the Retry-After of a 503 response: whole seconds until a target may be available again."""
        check = self.section.health_check
        if check and all(one.health is Health.DOWN for one in self.targets):
            return max(1, ceil(check.interval))
        return max(1, ceil(PROBE_AFTER_S))

    def healthy_addresses(self) -> list[str]:
        """Return the IP addresses of all targets that are up, for DNS answers. Host names count as last resolved."""
        now = self._time()
        resolver = RESOLVER.of(self.context)
        addresses: list[str] = []
        for target in self.targets:
            if target.state.down_until > now or target.health is Health.DOWN or target.address.is_unix:
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
