"""A resolver: its address, how it has behaved, and its counters. It outlives the configs that name it.

A resolver that fails `DOWN_AFTER` times in a row is down: the others are asked first, and it is tried now and then by a
question that nobody waits for, at first after `PROBE_S`, then after longer pauses. Any answer brings it back. Questions
that were sent before the last failure or answer do not count, as those of a burst fail together. That it could not
resolve a name (SERVFAIL) says nothing about it either: the name may be at fault.
"""

from __future__ import annotations

import logging
from ipaddress import ip_address
from time import monotonic_ns
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from npserver.dns.message.name import to_text
from npserver.limits.log_pace import LogPace
from npserver.nameserver.resolver.channel import Channel
from npserver.nameserver.resolver.rebinding import is_private
from npserver.runtime.context import PerProcess

if TYPE_CHECKING:
    import ssl

    from npserver.nameserver.resolver.address import ResolverAddress
    from npserver.runtime.context import Context

log = logging.getLogger("npserver.dns")

DOWN_AFTER = 3
HARD = DOWN_AFTER  # the weight of a failure that says all: there is no way to the resolver
PROBE_S, LONGEST_PROBE_S = 2.0, 60.0
WITHOUT_EDNS_S = 900.0  # a resolver that does not understand EDNS is asked without it
STREAM_PATIENCE = 4  # over TCP, TLS and HTTPS the wait is so many times as long: connections have to be opened


class Resolver:
    """One resolver of one process."""

    __slots__ = (
        "__weakref__", "_asked", "_context", "_failed", "_judged_at", "_microseconds", "_pace", "_pause_s", "_refused",
        "address", "channel", "failures", "has_case", "key", "probe_at", "with_edns_at",
    )  # fmt: skip

    def __init__(self, context: Context, address: ResolverAddress, tls: ssl.SSLContext | None, key: str) -> None:
        """Create it. `key`: its place in the config, for the log; `tls` verifies it, if it is asked over TLS."""
        self.address = address
        self.key = key
        #: The connection to it: over TCP to one that is asked over UDP.
        self.channel = Channel(context, address, tls, key)
        self.failures = 0  # in a row
        self.probe_at = 0.0  # when it is tried again, if it is down
        self.has_case = True  # it returns names in the case in which they were asked for
        self.with_edns_at = 0.0  # from when on it is asked with EDNS
        self._context = context
        self._pause_s = PROBE_S
        self._judged_at = 0.0  # when it last answered, or failed
        slot = context.row.slot
        name = f"dns.resolver.{address}"
        self._asked, self._failed, self._microseconds, self._refused = (
            slot(f"{name}.{kind}") for kind in ("questions", "failures", "microseconds", "private_addresses")
        )
        self._pace = LogPace()

    def __repr__(self) -> str:
        return f"<Resolver {self.address}{' down' if self.is_down else ''}>"

    @property
    def is_down(self) -> bool:
        """Whether it has failed so often that the others are asked first."""
        return self.failures >= DOWN_AFTER

    @property
    def is_public(self) -> bool:
        """Whether it is on the internet, by its address."""
        return not is_private(ip_address(self.address.host).packed)

    @property
    def is_datagram(self) -> bool:
        """Whether it is asked over UDP."""
        return self.address.scheme == "udp"

    def asked(self) -> None:
        """Count a question."""
        self._context.row.slots[self._asked] += 1

    def answered(self, after_s: float) -> None:
        """Note an answer that came so long after the question."""
        self._context.row.slots[self._microseconds] += int(after_s * 1e6)
        if self.is_down:
            log.info("resolver %s answers again (%s)", self.address, self.key)
        self.failures = 0
        self._pause_s = PROBE_S
        self._judged_at = self._context.loop.time()

    def failed(self, reason: str, weight: int, sent_at: float) -> None:
        """Note a failure of a question. `weight`: how much it says about the resolver, 0 to `DOWN_AFTER`."""
        self._context.row.slots[self._failed] += 1
        log.debug("resolver %s failed (%s): %s", self.address, self.key, reason)
        was_down = self.is_down
        if weight < HARD and sent_at < self._judged_at:
            return
        self._judged_at = self._context.loop.time()
        self.failures = min(self.failures + weight, DOWN_AFTER)
        if self.is_down and not was_down:
            log.warning("resolver %s is down (%s): %s", self.address, self.key, reason)
            self.delay_probe()

    def led_inside(self, name: bytes) -> None:
        """Count an answer with a private address to a public name."""
        self._context.row.slots[self._refused] += 1
        log.log(
            self._pace.level(monotonic_ns()),
            "%s has a private address, says resolver %s: refused (dns_forward.rebind_protection; rebind_allow names "
            "domains that may)",
            to_text(name),
            self.address,
        )

    def delay_probe(self) -> None:
        """Try a resolver that is down no sooner than after a pause, which doubles each time."""
        self.probe_at = self._context.loop.time() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PROBE_S)

    def does_not_keep_case(self) -> None:
        """Note that it returns names in another case than that of the question."""
        if self.has_case:
            log.info(
                "resolver %s does not return the case of names: it is asked without (dns_forward.random_case)",
                self.address,
            )
        self.has_case = False


class Resolvers:
    """The resolvers of a process that are in use, by what is verified of them."""

    __slots__ = ("_context", "_known")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: WeakValueDictionary[tuple[ResolverAddress, str], Resolver] = WeakValueDictionary()

    def get(self, address: ResolverAddress, tls: ssl.SSLContext | None, ca_state: str, key: str) -> Resolver:
        """Return the resolver at an address; a new one if the file of its CAs has changed."""
        found = self._known.get((address, ca_state))
        if found is None:
            found = self._known[address, ca_state] = Resolver(self._context, address, tls, key)
        found.key = key
        return found


RESOLVERS = PerProcess(Resolvers)
