"""Resolves host names to addresses, with a cache per process.

`Resolution` runs in the controller: it looks up the names of upstreams periodically and publishes their addresses as
topic `resolved:<host>`. `Resolver` serves one process, from these and from look-ups of its own for other names. While
it has an older address, a connection never waits for a look-up.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from npserver.networks import is_ip_address
from npserver.runtime.context import PerProcess
from npserver.runtime.tasks import spawn

if TYPE_CHECKING:
    from npserver.runtime.pubsub import PubSub

log = logging.getLogger("npserver.upstream")

FRESH_S = 30.0  # after that an address is looked up again
RETRY_S = 2.0  # after that a name that did not resolve is looked up again
LOOK_UP_S = 10.0  # time limit for one look-up; the system's own may be minutes

#: Errors of `getaddrinfo` that mean that a name does not exist or has no address (RFC 3493 §6.1).
GONE = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


class Unresolved(OSError):
    """A host name has no address, or could not be looked up. Its text is the reason, in lower case."""


async def look_up(host: str) -> tuple[str, ...]:
    """Return all addresses of `host` in the system's order of preference (RFC 6724).

    Raises: OSError; `socket.gaierror` if there are none.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(LOOK_UP_S):
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def explain(error: OSError) -> str:
    """Return the reason why a name did not resolve, in a few words."""
    if isinstance(error, TimeoutError):
        return f"no answer within {LOOK_UP_S:g} s"
    return (error.strerror or str(error)).lower()


class Resolver:
    """The resolver of one process."""

    __slots__ = ("_asking", "_avoided", "_expires", "_known", "_loop", "_published", "_pubsub", "_turn")

    def __init__(self, loop: asyncio.AbstractEventLoop, pubsub: PubSub) -> None:
        self._loop = loop
        self._pubsub = pubsub
        self._known: dict[str, tuple[str, ...]] = {}
        self._published: dict[str, str] = {}  # by name: why the controller cannot resolve it, or ""
        self._expires: dict[str, float] = {}  # of names looked up here
        self._asking: dict[str, asyncio.Task[tuple[str, ...]]] = {}
        self._avoided: dict[str, float] = {}  # addresses that failed recently: until when they are tried last
        self._turn = 0

    def __repr__(self) -> str:
        return f"<Resolver {self._known}>"

    def known(self, host: str) -> tuple[str, ...] | None:
        """Return the addresses of `host` if they are in the cache; None if not. An IP address is its own."""
        found = self._known.get(host)
        if found is not None and (host not in self._expires or self._loop.time() < self._expires[host]):
            return found or None
        return self._look_up_again(host, found)

    async def resolve(self, host: str) -> tuple[str, ...]:
        """Return the addresses of `host`, at least one. Raises: OSError with the reason if there are none."""
        if found := self.known(host):
            return found
        if reason := self._published.get(host):
            raise Unresolved(reason)
        try:
            return await asyncio.shield(self._ask(host))
        except OSError as error:
            raise Unresolved(explain(error)) from error

    def order(self, addresses: tuple[str, ...]) -> list[str]:
        """Return the addresses of a host in the order to try them.

        The families alternate (RFC 8305 §4), the first address of each family rotates, and addresses that failed
        recently come last.
        """
        now = self._loop.time()
        self._avoided = {one: until for one, until in self._avoided.items() if until > now}
        self._turn += 1
        turned = []
        for family in _by_family(addresses):
            start = self._turn % len(family)
            turned.append(family[start:] + family[:start])
        mixed = [one for pair in zip_longest(*turned) for one in pair if one is not None]
        return sorted(mixed, key=self._avoided.__contains__)

    def avoid(self, addresses: Iterable[str]) -> None:
        """Try these addresses last for a while: they failed, or answered too late."""
        until = self._loop.time() + FRESH_S
        self._avoided.update(dict.fromkeys(addresses, until))

    def _look_up_again(self, host: str, stale: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Return stale addresses and look the name up in the background; for a new name subscribe to it first."""
        if stale is None:
            if is_ip_address(host):
                self._known[host] = (host,)
                return (host,)
            self._pubsub.subscribe(f"resolved:{host}", lambda found: self._learn(host, found))
            return self._known.get(host) or None
        self._ask(host)  # in the background
        return stale

    def _learn(self, host: str, found: Any) -> None:
        self._known[host] = tuple(found["addresses"])
        self._published[host] = found["error"]
        self._expires.pop(host, None)

    def _ask(self, host: str) -> asyncio.Task[tuple[str, ...]]:
        """Look up `host`; callers meanwhile share the task."""
        if host not in self._asking:
            task = self._asking[host] = self._loop.create_task(look_up(host), name=f"resolving {host}")
            task.add_done_callback(lambda done: self._answered(host, done))
        return self._asking[host]

    def _answered(self, host: str, done: asyncio.Task[tuple[str, ...]]) -> None:
        del self._asking[host]
        if done.cancelled() or host in self._published:
            return
        error = done.exception()
        if error is None:
            self._known[host] = done.result()
            self._expires[host] = self._loop.time() + FRESH_S
        elif isinstance(error, socket.gaierror) and error.errno in GONE:
            self._known.pop(host, None)
            self._expires.pop(host, None)
        elif host in self._known:  # an old address is better than none
            self._expires[host] = self._loop.time() + RETRY_S


def _by_family(addresses: tuple[str, ...]) -> list[list[str]]:
    """Split addresses by family; the family of the first address comes first."""
    is_ipv6 = ":" in addresses[0]
    families = ([one for one in addresses if (":" in one) is which] for which in (is_ipv6, not is_ipv6))
    return [family for family in families if family]


#: The resolver of a process.
RESOLVER = PerProcess(lambda context: Resolver(context.loop, context.pubsub))


class Resolution:
    """The service of the controller that keeps the addresses of upstreams up to date.

    A name that no longer exists is published without addresses. While it cannot be looked up, its last addresses stay.
    """

    __slots__ = ("_intervals_s", "_pubsub", "_state")

    def __init__(self, pubsub: PubSub, intervals_s: Mapping[str, float]) -> None:
        self._pubsub = pubsub
        self._intervals_s = {
            host: interval for host, interval in intervals_s.items() if host and not is_ip_address(host)
        }
        self._state: dict[str, tuple[Sequence[str], str]] = {}

    def __repr__(self) -> str:
        return f"<Resolution {' '.join(self._intervals_s)}>"

    async def run(self) -> None:
        """Run until cancelled."""
        tasks = [
            spawn(self._keep(host, interval), f"resolving {host}", None) for host, interval in self._intervals_s.items()
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _keep(self, host: str, interval_s: float) -> None:
        while True:
            await self.refresh(host)
            failed = bool(self._state[host][1])
            pause_s = min(RETRY_S, interval_s or RETRY_S) if failed else interval_s
            if not pause_s:
                return
            await asyncio.sleep(pause_s * random.uniform(0.9, 1.1))

    async def refresh(self, host: str) -> None:
        """Look up `host` once, and publish its addresses if they have changed."""
        before = self._state.get(host)
        try:
            addresses: Sequence[str] = await look_up(host)
            reason = ""
        except OSError as error:
            reason = explain(error)
            is_gone = isinstance(error, socket.gaierror) and error.errno in GONE
            addresses = [] if is_gone or before is None else before[0]
        if before is not None and (sorted(before[0]), before[1]) == (sorted(addresses), reason):
            return
        self._state[host] = addresses, reason
        self._announce(host, before, addresses, reason)
        self._pubsub.publish(f"resolved:{host}", {"addresses": list(addresses), "error": reason})

    def _announce(
        self, host: str, before: tuple[Sequence[str], str] | None, addresses: Sequence[str], reason: str
    ) -> None:
        if reason:
            kept = f", still using {', '.join(addresses)}" if addresses else ""
            log.warning("host %s does not resolve: %s%s", host, reason, kept)
        elif before is not None:
            log.info("host %s is now at %s", host, ", ".join(addresses))
