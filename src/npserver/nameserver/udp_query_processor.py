"""The fast path of DNS over UDP: two table look-ups before the general `nameserver.query_processor`.

First, whole replies are cached by all bytes of the query after its id (`UdpQueryProcessor.replies`). Second, compiled
answers are found by the question's bytes in lower case. Only plain queries take the fast path: one question and at most
one OPT record; all others go to `QueryProcessor.respond`, which gives the same answers. Queries that an attacker varies
(case, names, options) cost at most the second step.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, repeat
from typing import ClassVar

from npserver.dns.message.cookies import CookieJar
from npserver.dns.message.edns import MAX_PLAIN_UDP_BYTES, OPT_REPLIES, opt_with_cookie, parse_opt
from npserver.dns.message.header import HEADER_BYTES
from npserver.dns.zone.answer import CompiledAnswer
from npserver.dns.zone.responder import Responder
from npserver.nameserver.query_processor import NO_PEERS, Peers, QueryProcessor, Reply, shortened, truncated
from npserver.nameserver.resolver.local_names import LocalNames
from npserver.nameserver.response_rate_limit import RateLimiter, Verdict
from npserver.nameserver.transfers.access import TransferAccess

MAX_REPLIES = 16_384  # cached replies; a full cache is cleared
MAX_OPTS = 4096
COOKIE_S = 60.0  # how long the reply's OPT record with a server cookie is reused
SAMPLE = 8  # every 8th reply is cached: frequent queries soon are, and unique queries cost next to nothing
MAX_TURNS = 4  # answers that rotate through more orders of addresses are not cached as whole replies

#: Headers of plain queries (bytes 2 to 12: opcode 0, one question) to the index of the answer's header that fits them:
#: RD + 2 * EDNS. AA, TC, RA, Z, AD and CD are ignored.
SHAPES = {
    bytes((high, low)) + b"\0\x01\0\0\0\0\0" + bytes((edns,)): (high & 1) + 2 * edns
    for high in range(8)
    for low in range(0, 256, 16)
    for edns in (0, 1)
}
_PLAIN_OPT_BYTES = 11  # without options

#: From a query's OPT record: largest reply in bytes, the reply's OPT record, whether a cookie proves the address, the
#: responder for queries with its DO bit.
Opt = tuple[int, bytes, bool, Responder]


class UdpQueryProcessor(QueryProcessor):
    """Answers the queries of clients with equal rights over UDP."""

    is_datagram: ClassVar[bool] = True

    __slots__ = ("_due", "_opts", "_opts_until", "_passing", "_shapes", "replies")

    def __init__(
        self,
        responder: Responder,
        jar: CookieJar,
        *,
        may_recurse: bool = False,
        limiter: RateLimiter | None = None,
        local_names: LocalNames | None = None,
        transfers: TransferAccess | None = None,
        peers: Peers = NO_PEERS,
    ) -> None:
        super().__init__(
            responder,
            jar,
            may_recurse=may_recurse,
            limiter=limiter,
            local_names=local_names,
            transfers=transfers,
            peers=peers,
        )
        #: By the query without its id: a function that returns the replies without ids in turn, and their counter.
        self.replies: dict[bytes, tuple[Callable[[], bytes], list[int]]] = {}
        self._passing: list[bytes] = []  # the keys of those that are dropped at the next tick
        self._due = 1
        self._opts: dict[bytes | tuple[bytes, str], Opt] = {}
        self._opts_until = 0.0  # when the cached OPT records, whose cookies age, are dropped
        self._shapes = {head: shape + 4 * may_recurse for head, shape in SHAPES.items()}

    def forget(self) -> None:
        """Clear the cached replies after the zone tables have changed, and who answers: a zone may be signed now."""
        self._drop_replies()
        self._opts.clear()

    def keep_for_now(self, data: bytes, reply: bytes, tally: list[int]) -> None:
        """Cache the reply to a query until the next `drop_passing`."""
        if self.limiter is not None:
            return
        if len(self.replies) >= MAX_REPLIES:
            self._drop_replies()
        query = data[2:]
        self.replies[query] = repeat(reply[2:]).__next__, tally
        self._passing.append(query)

    def drop_passing(self) -> None:
        """Drop the replies that `keep_for_now` has cached."""
        passing, self._passing = self._passing, []
        for query in passing:
            self.replies.pop(query, None)

    def _drop_replies(self) -> None:
        self.replies.clear()
        self._passing.clear()

    def respond(self, data: bytes, client: str, now: float, wall: float) -> Reply:  # hot: dns-varied, dns-missing
        """Return the reply to a message, the same as `QueryProcessor.respond`."""
        shape = self._shapes.get(data[2:12])
        end = data.find(0, HEADER_BYTES) + 1
        after = end + 4
        if shape is None or not end:
            return super().respond(data, client, now, wall)
        if shape & 2:
            record = data[after:]
            if len(record) == _PLAIN_OPT_BYTES:
                read = self._opts.get(record) or self._read_opt(record, client, wall)
            elif wall < self._opts_until:
                read = self._opts.get((record, client)) or self._read_opt(record, client, wall)
            else:
                read = self._read_opt(record, client, wall)
            if read is None:
                return super().respond(data, client, now, wall)
            limit, opt, is_proved, responder = read
        elif len(data) == after:
            limit, opt, is_proved, responder = MAX_PLAIN_UDP_BYTES, b"", False, self.responder
        else:
            return super().respond(data, client, now, wall)
        key = data[HEADER_BYTES:end].lower()
        tail = data[end:after]
        answer = known = responder.answers.get(key + tail)
        if answer is None:
            try:
                answer = responder.answer(key, tail, minimal_any=self.minimal_any)
            except ValueError:  # a zero byte in a label, or not a name
                return super().respond(data, client, now, wall)
            if answer is None:
                return super().respond(data, client, now, wall)
        if self.limiter is not None and not is_proved:
            verdict = self.limiter.judge(client, answer.rate_limit_key, now)
            if verdict is not Verdict.SEND:
                return None if verdict is Verdict.DROP else truncated(data, after, shape, answer, opt)
        answer.tally[0] += 1
        reply = b"".join((data[:2], answer.full_heads[shape], data[HEADER_BYTES:after], next(answer.body_cycle), opt))
        if len(reply) > limit:
            reply = shortened(data, after, shape, answer, opt, limit)
        elif known is not None and len(opt) <= _PLAIN_OPT_BYTES and self.limiter is None:
            self._due -= 1
            if not self._due:
                self._due = SAMPLE
                self._cache_answer(data, shape, after, answer, opt)
        return reply

    def _read_opt(self, record: bytes, client: str, wall: float) -> Opt | None:
        """Return the cached form of a query's OPT record; None if `QueryProcessor` must handle the query."""
        edns = parse_opt(record)
        if edns is None or edns[2]:
            return None
        limit, do, _, cookie, asked = edns
        responder = self.responder.secure if do else self.responder
        opt: Opt = (limit, OPT_REPLIES[do], False, responder)
        if cookie is not None:
            baked = self.jar.answer(cookie, client, int(wall))
            if baked is None:
                return None
            opt = (limit, opt_with_cookie(do, baked[0]), baked[1], responder)
        if asked:
            opt = (limit, self.options.add(opt[1], asked), opt[2], responder)
        if len(self._opts) >= MAX_OPTS or wall >= self._opts_until:
            self._opts.clear()
            self._opts_until = wall + COOKIE_S
        self._opts[record if len(record) == _PLAIN_OPT_BYTES else (record, client)] = opt
        return opt

    def _cache_answer(self, data: bytes, shape: int, after: int, answer: CompiledAnswer, opt: bytes) -> None:
        if len(answer.bodies) > MAX_TURNS:
            return
        if len(self.replies) >= MAX_REPLIES:
            self._drop_replies()
        before = answer.full_heads[shape] + data[HEADER_BYTES:after]
        replies = [before + body + opt for body in answer.bodies]
        turn = repeat(replies[0]) if len(replies) == 1 else cycle(replies)
        self.replies[data[2:]] = turn.__next__, answer.tally
