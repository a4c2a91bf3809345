"""One question to the resolvers of `dns_forward`: whom it was sent to, when it is sent again, what has come back.

It goes to one resolver after the other, each with its own wait, which doubles with each round. A resolver that was
silent is asked again in the next round, one that answered with a failure is not. What it was sent by stays open
meanwhile, so that a late reply counts too. A truncated reply, and one in another case than that of the question, is
asked for again over TCP. Owned by `nameserver.resolver.client`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Container
from typing import TYPE_CHECKING

from npserver.dns.message import codes
from npserver.errors import reason_of
from npserver.nameserver.resolver.answer import Answer, read_answer
from npserver.nameserver.resolver.attempts import Attempt, DatagramAttempt, StreamAttempt
from npserver.nameserver.resolver.messages import (
    has_same_case,
    is_header_alone,
    is_truncated,
    make_query,
    match_reply,
    mix_case,
)
from npserver.nameserver.resolver.resolver import HARD, STREAM_PATIENCE, WITHOUT_EDNS_S

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from npserver.dns.message.query import Query
    from npserver.nameserver.resolver.answer import Lifetimes
    from npserver.nameserver.resolver.attempts import Sockets
    from npserver.nameserver.resolver.resolver import Resolver

Deliver = Callable[[bytes], None]
#: Takes the answer, or the last failure that a resolver has answered with; None if none has answered.
Done = Callable[["Question", Answer | None], None]

_MAX_NAME_BITS = 255


class Question:
    """A question in progress and the clients that wait for its answer."""

    __slots__ = (
        "_attempts", "_case_missed", "_done", "_end", "_guarded", "_last", "_lifetimes", "_loop", "_order",
        "_random_case", "_sockets", "_streams", "_subnet", "_timeout_s", "_timer", "_trusted", "_turn", "_wait_s",
        "_without_edns", "is_done", "key", "query", "reason", "stale", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        sockets: Sockets,
        query: Query,
        key: bytes,
        order: Sequence[Resolver],
        done: Done,
        *,
        lifetimes: Lifetimes,
        timeout_s: float,
        random_case: bool = True,
        subnet: bytes = b"",
        guarded: Container[Resolver] = (),
        trusted: Container[Resolver] = (),
    ) -> None:
        """Create it.

        Args:
            guarded: the resolvers whose answers must not have private addresses.
            trusted: those whose AD flag is believed.
        """
        self.query = query
        self.key = key
        self.waiting: list[tuple[Query, Deliver]] = []
        self.is_done = False
        self.reason = ""  # why the last resolver that failed did; empty if all have just been silent
        self.stale: Answer | None = None  # for the clients, if the resolvers do not answer
        self._sockets = sockets
        self._loop = sockets.loop
        self._done = done
        self._lifetimes = lifetimes
        self._timeout_s = timeout_s
        self._random_case = random_case
        self._subnet = subnet
        self._guarded = guarded
        self._trusted = trusted
        self._order = list(order)  # the resolvers that have not failed, in the order to ask them
        self._turn = 0  # place in `_order` of the resolver to ask next
        self._wait_s = timeout_s
        self._attempts: dict[Resolver, Attempt] = {}
        self._streams: set[Resolver] = set()  # asked over TCP instead of UDP
        self._case_missed: set[Resolver] = set()
        self._without_edns: set[Resolver] = set()
        self._last: Answer | None = None  # the last failure, which the clients get if nobody knows better
        self._timer: asyncio.TimerHandle | None = None
        self._end: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Question {self.key!r} {len(self.waiting)} waiting>"

    def limit(self, total_s: float) -> None:
        """End the question after `total_s`, whatever state it is in."""
        self._end = self._loop.call_later(total_s, self._run_out)

    def ask_next(self) -> None:
        """Ask the next resolver. After the last one a new round begins, with twice the wait."""
        while self._order and not self.is_done:
            if self._turn >= len(self._order):
                self._turn = 0
                self._wait_s *= 2
                if self._last is not None and self._wait_s > 2 * self._timeout_s:
                    break  # each of the others had two chances to know better
            resolver = self._order[self._turn]
            try:
                self._send(resolver)
            except OSError as error:
                self._give_up(resolver, reason_of(error), HARD)
                continue
            if resolver not in self._order:  # it has failed at once
                continue
            self._turn += 1
            self._wait(resolver)
            return
        self._finish(self._last)

    # ── called by attempts ──

    def took(self, attempt: Attempt, data: bytes) -> bool:
        """Take a message of a resolver; return whether it was the resolver's reply."""
        resolver, sent = attempt.resolver, attempt.sent
        if self.is_done or self._attempts.get(resolver) is not attempt:
            return True
        reply = match_reply(sent, data)
        if reply is None:
            if not is_header_alone(sent, data):
                return False
            if is_truncated(data) and attempt.is_datagram:
                self._ask_over_stream(resolver)
                return True
            return self._took_failure(attempt, None, data[3] & 0xF)
        if attempt.is_datagram:
            if self._random_case and resolver.has_case and not has_same_case(sent, reply):
                self._case_missed.add(resolver)  # forged, or the resolver does not keep it: TCP shows
                self._ask_over_stream(resolver)
                return True
            if is_truncated(reply):
                self._ask_over_stream(resolver)
                return True
        elif is_truncated(reply):
            return False
        answer = read_answer(
            self.query, reply, self._loop.time(), self._lifetimes, refuses_private=resolver in self._guarded
        )
        if answer is None:
            return False
        answer.is_authentic = answer.is_authentic and resolver in self._trusted
        if answer.is_refused:
            resolver.led_inside(self.query.key)
        if resolver in self._case_missed and not has_same_case(sent, reply):
            resolver.does_not_keep_case()
        if answer.is_failure:
            return self._took_failure(attempt, answer, answer.rcode)
        if resolver in self._without_edns:
            resolver.with_edns_at = self._loop.time() + WITHOUT_EDNS_S
        resolver.answered(self._loop.time() - attempt.sent_at)
        self._finish(answer)
        return True

    def lost(self, attempt: Attempt, reason: str, weight: int) -> None:
        """Take the failure of an attempt."""
        resolver = attempt.resolver
        if self.is_done or self._attempts.get(resolver) is not attempt:
            return
        if resolver in self._case_missed and resolver.is_datagram:
            # It cannot be asked over TCP: the case is what it does not return
            self._case_missed.discard(resolver)
            self._streams.discard(resolver)
            resolver.does_not_keep_case()
            self._ask_again(resolver)
            return
        self._fail(resolver, reason, weight)

    # ── private ──

    def _took_failure(self, attempt: Attempt, answer: Answer | None, rcode: int) -> bool:
        resolver = attempt.resolver
        if rcode in (codes.FORMERR, codes.NOTIMP) and self._is_asked_with_edns(resolver):  # RFC 6891 §7
            self._without_edns.add(resolver)
            self._ask_again(resolver)
            return True
        if answer is not None and answer.rcode <= 0xF:
            self._last = answer
        if rcode != codes.REFUSED:  # the name or the type may be at fault
            resolver.answered(self._loop.time() - attempt.sent_at)
        reason = codes.rcode_name(rcode) if rcode else "a reply that is a header alone"
        self._fail(resolver, reason, 1 if rcode == codes.REFUSED else 0)
        return True

    def _is_asked_with_edns(self, resolver: Resolver) -> bool:
        return resolver not in self._without_edns and self._loop.time() >= resolver.with_edns_at

    def _send(self, resolver: Resolver) -> None:
        attempt = self._attempts.get(resolver)
        if attempt is None:
            attempt = self._attempts[resolver] = self._attempt(resolver)
            resolver.asked()
        attempt.send()

    def _attempt(self, resolver: Resolver) -> Attempt:
        with_edns = self._is_asked_with_edns(resolver)
        subnet = self._subnet if with_edns else b""
        sent = make_query(
            self.query, secrets.randbits(16), with_edns=with_edns, subnet=subnet, is_padded=resolver.address.is_tls
        )
        is_stream = not resolver.is_datagram or resolver in self._streams
        if self._random_case and resolver.has_case and (not is_stream or resolver in self._case_missed):
            sent = mix_case(sent, secrets.randbits(_MAX_NAME_BITS))
        if is_stream:
            return StreamAttempt(self, resolver, sent)
        if not self._sockets.has_room():
            self._close_datagrams()  # their place is ours
        return DatagramAttempt(self, self._sockets, resolver, sent)

    def _wait(self, resolver: Resolver) -> None:
        """Ask the next resolver if this one has not answered in time."""
        self._stop_waiting()
        is_stream = not resolver.is_datagram or resolver in self._streams
        wait_s = self._wait_s * (STREAM_PATIENCE if is_stream else 1)
        self._timer = self._loop.call_later(wait_s, self._expire, resolver)

    def _ask_over_stream(self, resolver: Resolver) -> None:
        self._streams.add(resolver)
        self._ask_again(resolver)

    def _ask_again(self, resolver: Resolver) -> None:
        """Ask a resolver that has answered once more, in another way."""
        attempt = self._attempts.pop(resolver, None)
        if attempt is not None:
            attempt.close()
        try:
            self._send(resolver)
        except OSError as error:
            self._fail(resolver, reason_of(error), HARD)
            return
        if self._was_last_asked(resolver):
            self._wait(resolver)

    def _expire(self, resolver: Resolver) -> None:
        resolver.failed("no answer in time (dns_forward.timeout)", 1, self._sent_at(resolver))
        self.ask_next()

    def _sent_at(self, resolver: Resolver) -> float:
        attempt = self._attempts.get(resolver)
        return 0.0 if attempt is None else attempt.sent_at

    def _was_last_asked(self, resolver: Resolver) -> bool:
        return resolver in self._order and self._order.index(resolver) == self._turn - 1

    def _fail(self, resolver: Resolver, reason: str, weight: int) -> None:
        """Give a resolver up. If it was the last one asked, ask the next one at once."""
        was_last_asked = self._was_last_asked(resolver)
        self._give_up(resolver, reason, weight)
        if was_last_asked or not self._order:
            self._stop_waiting()
            self.ask_next()

    def _give_up(self, resolver: Resolver, reason: str, weight: int) -> None:
        """Ask a resolver no more."""
        self.reason = f"{resolver.address}: {reason}"
        resolver.failed(reason, weight, self._sent_at(resolver))
        attempt = self._attempts.pop(resolver, None)
        if attempt is not None:
            attempt.close()
        if resolver in self._order:
            place = self._order.index(resolver)
            del self._order[place]
            self._turn -= place < self._turn

    def _run_out(self) -> None:
        self._finish(self._last)

    def _finish(self, answer: Answer | None) -> None:
        if self.is_done:
            return
        self.is_done = True
        self._stop_waiting()
        if self._end is not None:
            self._end.cancel()
            self._end = None
        while self._attempts:
            self._attempts.popitem()[1].close()
        self._done(self, answer)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_datagrams(self) -> None:
        for resolver, attempt in list(self._attempts.items()):
            if attempt.is_datagram:
                del self._attempts[resolver]
                attempt.close()
