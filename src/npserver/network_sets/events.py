"""What networks learn from, and who is told of it. Called by the compilers of the parts in which it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.runtime.compilation import PerCompilation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: The events, and what a config needs for them to happen. None is of a UDP datagram, whose sender may be forged.
EVENTS = {
    "login": "a rule with 'basic_auth', 'jwt' or 'forward_auth'",
    "scan": "a listener that speaks HTTP",
    "limited": "a listener that speaks HTTP, a name server over TCP, TLS or QUIC, or a TCP forward with 'rate_limit'",
    "dns": "a name server over TCP, TLS, QUIC or HTTPS",
    "tls": "a listener with TLS",
    "proxy": "a listener with 'accept_proxy'",
}


class Learning:
    """Those who learn from events, in one compilation."""

    __slots__ = ("_learners", "unheard")

    def __init__(self) -> None:
        self._learners: dict[str, list[Callable[[str, str], None]]] = {}
        self.unheard = set(EVENTS)  # those that nothing tells of

    def add(self, notice: Callable[[str, str], None], events: Iterable[str]) -> None:
        """Have `notice` called with each of these events, and the address of the client."""
        for event in events:
            self._learners.setdefault(event, []).append(notice)

    def hook(self, event: str) -> Callable[[str], None] | None:
        """Return what to call with a client's address when an event happens; None: nobody learns from it."""
        self.unheard.discard(event)
        learners = self._learners.get(event)
        if not learners:
            return None

        def tell(ip: str) -> None:
            for notice in learners:
                notice(event, ip)

        return tell


#: Those of a compilation: `network_sets.learning` adds the learners, before any other compiler asks.
LEARNING: PerCompilation[Learning] = PerCompilation(lambda compilation: Learning())
