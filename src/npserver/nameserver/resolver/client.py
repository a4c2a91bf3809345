"""Ask the resolvers of `dns_forward` for names outside our zones, and cache what they answer.

A domain of `zones` has resolvers of its own. Equal questions in progress share one answer.
`nameserver.resolver.question` asks; this module caches, joins and limits: questions beyond `max_sockets` wait for their
turn, clients beyond `max_waiting` get SERVFAIL. An answer that has ended is given for a while if the resolvers do not
answer (RFC 8767), and a failure is remembered for a short time (RFC 9520). Who may ask is decided before a question
comes here.
"""

from __future__ import annotations

import logging
import resource
from collections import deque
from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.dns.message import codes
from npserver.dns.message.edns import extended_error
from npserver.dns.zone.tables import ancestors
from npserver.nameserver.resolver.answer import LASTING_S, Answer, LastingReply, Lifetimes, cache_key, failure
from npserver.nameserver.resolver.cache import CACHE
from npserver.nameserver.resolver.messages import client_subnet, fail, fail_because
from npserver.nameserver.resolver.question import Deliver, Question

if TYPE_CHECKING:
    from npserver.dns.message.query import Query
    from npserver.nameserver.resolver.config import DnsForward
    from npserver.nameserver.resolver.resolver import Resolver
    from npserver.runtime.context import Context

log = logging.getLogger("npserver.dns")

MIN_LEFT_DESCRIPTORS = 4  # of so many descriptors that a process may have, one at most is a socket to a resolver
STALE_AFTER_S = 1.8  # clients get an answer that has ended if there is none by then (RFC 8767 §5)
RETRY_STALE_S = 30.0  # it is then given at once for that time (RFC 8767 §5)
PREFETCH_HITS = 2  # an answer that was asked for so often is asked for again before it ends
_CACHED_FAILURE = extended_error(codes.EDE_CACHED_ERROR)


class Group(Struct, frozen=True, eq=False):
    """The resolvers of a domain."""

    resolvers: tuple[Resolver, ...]
    identity: bytes  # the same for groups whose answers are interchangeable
    guarded: frozenset[Resolver] = frozenset()  # those whose answers must not have private addresses
    trusted: frozenset[Resolver] = frozenset()  # those whose AD flag is believed

    def order(self, now: float) -> list[Resolver]:
        """Return the resolvers in the order to ask them: those that are down last."""
        return sorted(self.resolvers, key=lambda one: one.probe_at if one.is_down else 0.0)

    def due_probe(self, now: float) -> Resolver | None:
        """Return a resolver that is down and should be tried again."""
        for one in self.resolvers:
            if one.is_down and now >= one.probe_at:
                return one
        return None


class ResolverClient:
    """Asks the configured resolvers and caches their answers."""

    def __init__(
        self,
        context: Context,
        default: Group | None,
        zones: dict[bytes, Group],
        settings: DnsForward,
        unguarded: frozenset[bytes] = frozenset(),
    ) -> None:
        """Create it.

        Args:
            default: for names outside the domains in `zones`; None: they are refused.
            unguarded: domains that may have private addresses, whoever answers.
        """
        self.loop = context.loop
        self.default = default
        self.zones = zones
        self._timeout_s = float(settings.timeout)
        self._total_s = float(settings.total_timeout)
        self._max_waiting = settings.max_waiting
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._max_sockets = settings.max_sockets
        if most != resource.RLIM_INFINITY:
            self._max_sockets = max(1, min(settings.max_sockets, most // MIN_LEFT_DESCRIPTORS))
        self._size = settings.cache_size
        self._cache = CACHE.of(context).get()
        self._lifetimes = Lifetimes(int(settings.min_ttl), int(settings.max_ttl), int(settings.max_negative_ttl))
        self._failure_s = float(settings.failure_ttl)
        self._stale_s = float(settings.stale)
        self._prefetches = settings.prefetch
        self._random_case = settings.random_case
        self._unguarded = unguarded
        self._passes_subnet = settings.ecs == "pass"
        self._pending: dict[bytes, Question] = {}
        self._queue: deque[Question] = deque()  # questions in progress that have no socket yet
        self._waiting = 0  # clients of all questions in progress
        self._sockets = 0
        self._is_starting = False  # whether queued questions are about to be started
        self._repeated = [0]  # hits that fronts have answered by a `LastingReply`
        row = context.row
        self._tallies = row.tallies
        self._hits, self._misses, self._stale, self._prefetched, self._failures = (
            row.tally(f"dns.cache.{name}") for name in ("hits", "misses", "stale", "prefetches", "failures")
        )

    def __repr__(self) -> str:
        return f"<ResolverClient {len(self.zones)} zones, {len(self._pending)} pending>"

    def flush(self) -> None:
        """Add what fronts have counted to the counters."""
        self._tallies[self._hits] += self._repeated[0]
        self._repeated[0] = 0

    def heed_flush(self) -> None:
        """Empty the cache if it is to be; called twice a second."""
        self._cache.heed_flush()

    def activate(self) -> None:
        """Give the cache of the process the size of this config, which has become the active one."""
        self._cache.resize(self._size, self._stale_s)

    def group_of(self, name: bytes) -> Group | None:
        """Return the resolvers for a name in lower case: those of the longest domain that it is in."""
        if self.zones:
            for above in ancestors(name):
                if (found := self.zones.get(above)) is not None:
                    return found
        return self.default

    def ask(self, query: Query, deliver: Deliver) -> None:
        """Find the answer and call `deliver` with it, now or later; SERVFAIL if no resolver answers."""
        # hot: dns-forward-hit
        group = self.group_of(query.key)
        if group is None:
            deliver(fail_because(query, codes.REFUSED, codes.EDE_PROHIBITED, "no resolver has this name"))
            return
        subnet = client_subnet(query) if self._passes_subnet else b""
        key = cache_key(group.identity, query, subnet)
        now = self.loop.time()
        answer = self._cache.find(key)
        if answer is None or now >= answer.until:
            answer = self._cache.find_newer(key, query.question, answer, now)
        if answer is not None:
            if now < answer.until:
                self._tallies[self._hits] += 1
                answer.is_wanted = True
                answer.hits += 1
                reply = answer.reply(query, now, _CACHED_FAILURE if answer.is_failure else b"")
                if now + LASTING_S < answer.until:
                    reply = LastingReply(reply)
                    reply.tally = self._repeated
                deliver(reply)
                if self._prefetches and answer.hits >= PREFETCH_HITS and now >= answer.since + 0.9 * (
                    answer.until - answer.since
                ):  # fmt: skip
                    self._prefetch(query, key, group, subnet, answer)
                return
            if answer.is_failure or now >= answer.until + self._stale_s:
                answer = None
            elif now < answer.retry_at:
                self._tallies[self._stale] += 1
                deliver(answer.reply(query, now, is_stale=True))
                return
        self._miss(query, deliver, key, group, subnet, answer)

    # ── questions ──

    def _miss(
        self, query: Query, deliver: Deliver, key: bytes, group: Group, subnet: bytes, stale: Answer | None
    ) -> None:
        if self._waiting >= self._max_waiting:
            log.debug("SERVFAIL: %d clients wait for resolvers already (dns_forward.max_waiting)", self._waiting)
            deliver(fail(query, codes.SERVFAIL))
            return
        self._tallies[self._misses] += 1
        self._waiting += 1
        question = self._pending.get(key)
        if question is not None:
            question.waiting.append((query, deliver))
            if stale is not None and question.stale is None:  # it was a prefetch
                self._await(question, stale)
            return
        question = self._pending[key] = self._question(query, key, group, subnet, self._done)
        question.waiting.append((query, deliver))
        if stale is not None:
            self._await(question, stale)
        self._start(question)

    def _question(
        self, query: Query, key: bytes, group: Group, subnet: bytes, done: Callable[[Question, Answer | None], None]
    ) -> Question:
        now = self.loop.time()
        order = group.order(now)
        probe = group.due_probe(now)
        if probe is not None:
            probe.delay_probe()
            if probe is not order[0]:
                self._start(self._new(query, b"", [probe], subnet, group, lambda question, answer: None))
        return self._new(query, key, order, subnet, group, done)

    def _guarded(self, query: Query, group: Group) -> Container[Resolver]:
        """Return the resolvers whose answers to this query must not have private addresses."""
        if group.guarded and self._unguarded and not self._unguarded.isdisjoint(ancestors(query.key)):
            return ()
        return group.guarded

    def _new(
        self,
        query: Query,
        key: bytes,
        order: Sequence[Resolver],
        subnet: bytes,
        group: Group,
        done: Callable[[Question, Answer | None], None],
    ) -> Question:
        question = Question(
            self,
            query,
            key,
            order,
            done,
            lifetimes=self._lifetimes,
            timeout_s=self._timeout_s,
            random_case=self._random_case,
            subnet=subnet,
            guarded=self._guarded(query, group),
            trusted=group.trusted,
        )
        question.limit(self._total_s)
        return question

    def _start(self, question: Question) -> None:
        if self.has_room():
            question.ask_next()
        else:
            self._queue.append(question)

    def _prefetch(self, query: Query, key: bytes, group: Group, subnet: bytes, answer: Answer) -> None:
        """Ask again for an answer that is about to end, unless another worker has."""
        now = self.loop.time()
        if answer.is_refreshing or answer.is_failure or key in self._pending or self._waiting >= self._max_waiting:
            return
        answer.is_refreshing = True
        if self._cache.find_newer(key, query.question, answer, now) is not answer:
            return
        self._tallies[self._prefetched] += 1
        question = self._pending[key] = self._question(query, key, group, subnet, self._done)
        self._start(question)

    def _await(self, question: Question, stale: Answer) -> None:
        """Give the clients of a question an answer that has ended, if there is no other in time."""
        question.stale = stale
        self.loop.call_later(STALE_AFTER_S, self._give_up_waiting, question, stale)

    def _give_up_waiting(self, question: Question, stale: Answer) -> None:
        if not question.is_done:
            stale.retry_at = self.loop.time() + RETRY_STALE_S
            self._deliver(question, stale, is_stale=True)

    def _done(self, question: Question, answer: Answer | None) -> None:
        """Cache an answer and give it to the clients that wait for it; SERVFAIL if there is none."""
        del self._pending[question.key]
        now = self.loop.time()
        if answer is None or answer.is_failure:
            self._tallies[self._failures] += 1
            known = question.stale or self._cache.find(question.key)
            if known is not None and not known.is_failure and now < known.until + self._stale_s:
                known.retry_at = now + RETRY_STALE_S
                self._deliver(question, known, is_stale=now >= known.until)
                return
            answer = self._failed(question, answer, now)
        self._cache.put(question.key, answer)
        self._deliver(question, answer)

    def _failed(self, question: Question, answer: Answer | None, now: float) -> Answer:
        """Return what is answered, and cached, if no resolver has an answer."""
        if answer is None:
            code = codes.EDE_NETWORK_ERROR if question.reason else codes.EDE_NO_REACHABLE_AUTHORITY
            answer = failure(question.query, codes.SERVFAIL, extended_error(code))
        answer.since, answer.until = now, now + self._failure_s
        return answer

    def _deliver(self, question: Question, answer: Answer, *, is_stale: bool = False) -> None:
        waiting, question.waiting = question.waiting, []
        self._waiting -= len(waiting)
        now = self.loop.time()
        if is_stale:
            self._tallies[self._stale] += len(waiting)
        for query, deliver in waiting:
            try:
                deliver(answer.reply(query, now, is_stale=is_stale))
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
