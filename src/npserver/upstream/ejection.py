"""Ejection of targets by the results of the requests sent to them (`health` of an upstream). Runs in the controller.

The workers count requests and errors on the scoreboard: responses with status 5xx, failed connections, and requests
without a response. Twice a second the controller looks at the last `of` requests to each target, over all workers. One
of which the share `errors` has failed is ejected for `eject`; never the last target that can be used.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from npserver.upstream.health_state import Health
from npserver.upstream.registry import tell_reason

if TYPE_CHECKING:
    from npserver.runtime.context import Context
    from npserver.upstream.config import PassiveHealth
    from npserver.upstream.group import Upstream
    from npserver.upstream.target import Target

log = logging.getLogger("npserver.upstream")

PERIOD_S = 0.5


class Judged:
    """The last requests to a target: counts of requests and errors, each at a tick at which there were new requests."""

    __slots__ = ("counts", "is_spared", "of", "target")

    def __init__(self, target: Target, of: int) -> None:
        self.target = target
        self.of = of
        self.counts: deque[tuple[int, int]] = deque()
        self.is_spared = False  # as the last target: it is logged once

    def __repr__(self) -> str:
        return f"<Judged {self.target.uri} {list(self.counts)}>"

    def restart(self) -> None:
        """Forget the requests before."""
        self.counts.clear()
        self.is_spared = False
        self.take()

    def take(self) -> bool:
        """Read the counts; return whether there are new errors."""
        total = self.target.total
        now = total(self.target.requests_slot), total(self.target.errors_slot)
        before, counts = self.counts[-1] if self.counts else now, self.counts
        if len(counts) > 1 and now[0] == before[0]:
            counts[-1] = now
        elif not counts or now != before:
            counts.append(now)
        while len(counts) > 2 and now[0] - counts[1][0] >= self.of:
            counts.popleft()
        return now[1] != before[1]

    @property
    def last(self) -> tuple[int, int]:
        """The numbers of last requests, `of` or a few more, and of errors among them."""
        first, last = self.counts[0], self.counts[-1]
        return last[0] - first[0], last[1] - first[1]


class Ejections:
    """The ejections of one upstream; a `runtime.front.Service`."""

    __slots__ = ("_context", "_health", "_judged", "_share", "_upstream")

    def __init__(self, context: Context, upstream: Upstream, health: PassiveHealth, share: float) -> None:
        """Create it. `share`: of failed requests at which a target is ejected, a part of 1."""
        self._context = context
        self._upstream = upstream
        self._health = health
        self._share = share
        self._judged = [Judged(target, health.of) for target in upstream.targets]

    def __repr__(self) -> str:
        return f"<Ejections {self._upstream.name}>"

    async def run(self) -> None:
        """Judge the targets until cancelled."""
        self.start()
        while True:
            await asyncio.sleep(PERIOD_S)
            self.tick(self._context.loop.time())

    def start(self) -> None:
        """Begin to count."""
        for one in self._judged:
            if self._upstream.section.health_check is None:
                one.target.set_checked(Health.UNKNOWN)  # a config before may have had checks
            one.restart()

    def tick(self, now: float) -> None:
        """Judge each target once, and take back those whose time has passed."""
        name = self._upstream.name
        for one in self._judged:
            target = one.target
            if target.ejected_until:
                if target.ejected_until <= now:
                    self._take_back(one)
                    log.info(
                        "target %s of upstream %s gets requests again (upstreams.%s.health.eject)",
                        target.uri,
                        name,
                        name,
                    )
            elif one.take():
                self._judge(one, now)
        ejected = [one for one in self._judged if one.target.ejected_until]
        if ejected and not any(_is_usable(one.target) for one in self._judged):
            for one in ejected:
                self._take_back(one)
            log.warning(
                "upstream %s: no other target is up, ejected ones get requests again (upstreams.%s.health)", name, name
            )

    def _judge(self, one: Judged, now: float) -> None:
        requests, errors = one.last
        if requests < self._health.of or errors < requests * self._share:
            return
        target, name = one.target, self._upstream.name
        if not any(_is_usable(other.target) for other in self._judged if other is not one):
            if not one.is_spared:
                one.is_spared = True
                log.warning(
                    "target %s of upstream %s failed %d of %d requests, but is the last one: not ejected "
                    "(upstreams.%s.health)", target.uri, name, errors, requests, name,
                )  # fmt: skip
            return
        target.set_ejected(now + self._health.eject)
        target.slots[target.ejections_slot] += 1
        message = "target %s of upstream %s ejected for %g s: %d of its last %d requests failed (upstreams.%s.health)"
        log.warning(message, target.uri, name, self._health.eject, errors, requests, name)
        tell_reason(self._context, name, target.uri, f"{errors} of its last {requests} requests failed")

    @staticmethod
    def _take_back(one: Judged) -> None:
        one.target.set_ejected(0)
        one.restart()


def _is_usable(target: Target) -> bool:
    return target.section.weight > 0 and target.health is not Health.DOWN and not target.is_draining
