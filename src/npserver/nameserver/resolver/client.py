"""Ask the resolvers of `dns_forward` for names outside our zones: over UDP, then over TCP for truncated answers.

Truncated answers are asked for again over TCP only if the client came over a stream; UDP clients get the truncated
answer. Equal questions in progress share one answer. `nameserver.resolver.question` asks; this module caches, joins
and limits: questions beyond `max_sockets` wait for their turn, clients beyond `max_waiting` get SERVFAIL.
"""

from __future__ import annotations

import logging
import resource
from collections import deque
from typing import TYPE_CHECKING

from npserver.dns.message import codes
from npserver.nameserver.resolver.messages import Cache, Key, address_to, fail, key_of
from npserver.nameserver.resolver.question import Deliver, Question

if TYPE_CHECKING:
    from npserver.dns.message.query import Query
    from npserver.nameserver.config import DnsForward
    from npserver.runtime.context import Context

log = logging.getLogger("npserver.dns")

MIN_LEFT_DESCRIPTORS = 4  # of so many descriptors that a process may have, one at most is a socket to a resolver


class ResolverClient:
    """Asks the configured resolvers in turn and caches their answers."""

    def __init__(self, context: Context, resolvers: tuple[tuple[str, int], ...], settings: DnsForward) -> None:
        self.loop = context.loop
        self.resolvers = resolvers
        self.timeout_s = float(settings.timeout)
        self._total_s = float(settings.total_timeout)
        self._max_waiting = settings.max_waiting
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._max_sockets = settings.max_sockets
        if most != resource.RLIM_INFINITY:
            self._max_sockets = max(1, min(settings.max_sockets, most // MIN_LEFT_DESCRIPTORS))
        self._cache = Cache(settings.cache_size)
        self._pending: dict[tuple[Key, bool], Question] = {}
        self._queue: deque[Question] = deque()  # questions in progress that have no socket yet
        self._waiting = 0  # clients of all questions in progress
        self._sockets = 0
        self._is_starting = False  # whether queued questions are about to be started
        self._first = 0  # the resolver to ask first; it moves on when that resolver fails

    def __repr__(self) -> str:
        return f"<ResolverClient {len(self.resolvers)} resolvers, {len(self._pending)} pending>"

    def ask(self, query: Query, deliver: Deliver, *, by_stream: bool = False) -> None:
        """Find the answer and call `deliver` with it, now or later; SERVFAIL if no resolver answers."""
        key = key_of(query)
        known = self._cache.get(key, self.loop.time())
        if known is not None:
            deliver(address_to(query, known))
            return
        if self._waiting >= self._max_waiting:
            log.debug("SERVFAIL: %d clients wait for resolvers already (dns_forward.max_waiting)", self._waiting)
            deliver(fail(query, codes.SERVFAIL))
            return
        self._waiting += 1
        question = self._pending.get((key, by_stream))
        if question is not None:
            question.waiting.append((query, deliver))
            return
        count = len(self.resolvers)
        order = [(self._first + turn) % count for turn in range(count)]
        question = self._pending[key, by_stream] = Question(self, query, key, order, by_stream=by_stream)
        question.waiting.append((query, deliver))
        question.limit(self._total_s)
        if self.has_room():
            question.ask_next()
        else:
            self._queue.append(question)

    def failed(self, number: int, reason: str) -> None:
        """Note that a resolver failed: ask the next one first from now on."""
        host, port = self.resolvers[number]
        log.debug("resolver %s port %d failed (dns_forward): %s", host, port, reason)
        if self._first == number:
            self._first = (number + 1) % len(self.resolvers)

    def finished(self, question: Question, reply: bytes | None) -> None:
        """Cache a reply and send it to the clients that wait for it; SERVFAIL if there is none."""
        del self._pending[question.key, question.by_stream]
        if reply is not None:
            self._cache.put(question.key, reply, self.loop.time())
        waiting, question.waiting = question.waiting, []
        self._waiting -= len(waiting)
        for query, deliver in waiting:
            try:
                deliver(fail(query, codes.SERVFAIL) if reply is None else address_to(query, reply))
            except Exception:  # one client's connection must not keep the answer from the others
                log.exception("error while sending a resolver's answer to a client")

    # ── sockets ──

    def has_room(self) -> bool:
        """Whether one more socket may be opened (`max_sockets`)."""
        return self._sockets < self._max_sockets

    def socket_opened(self) -> None:
        """Count a socket."""
        self._sockets += 1

    def socket_closed(self) -> None:
        """Uncount a socket; once its owner has finished, questions that wait for one are asked."""
        self._sockets -= 1
        if self._queue and not self._is_starting:
            self._is_starting = True
            self.loop.call_soon(self._start_queued)

    def _start_queued(self) -> None:
        self._is_starting = False
        while self._queue and self.has_room():
            question = self._queue.popleft()
            if not question.is_done:
                question.ask_next()
