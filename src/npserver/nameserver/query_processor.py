"""Turn a query's bytes into a reply's bytes: the policy shared by DNS over UDP, TCP, TLS, QUIC and HTTPS.

A processor answers clients of one view over one transport. It holds what these clients may ask for: recursion, zone
transfers. `QueryProcessor` makes all checks in turn; `nameserver.udp_query_processor` adds a fast path for UDP. Pure:
client address and time are arguments.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

from npserver.dns.message import codes
from npserver.dns.message.cookies import CookieJar
from npserver.dns.message.edns import MAX_PLAIN_UDP_BYTES, OPT_BADVERS, OPT_REPLIES, opt_with_cookie
from npserver.dns.message.header import HEADER_BYTES, MAX_MESSAGE_BYTES, error_reply
from npserver.dns.message.query import Query, parse_query
from npserver.dns.zone.answer import CompiledAnswer
from npserver.dns.zone.responder import Responder
from npserver.nameserver.resolver.local_names import LocalNames
from npserver.nameserver.response_rate_limit import RateLimiter, Verdict


class Action(Enum):
    """A task for the front, for a query that a single reply from the zones does not answer."""

    RECURSE = "recurse"  # ask the resolvers of `dns_forward`
    TRANSFER = "transfer"  # send the whole zone (AXFR)


#: A reply's bytes, an action of the front, or None: send nothing.
Reply = bytes | Action | None


class QueryProcessor:
    """Answers the queries of clients with equal rights over a stream, where every answer fits."""

    is_datagram: ClassVar[bool] = False

    __slots__ = (
        "__weakref__",
        "jar",
        "limiter",
        "local_names",
        "may_recurse",
        "may_transfer",
        "minimal_any",
        "responder",
    )

    def __init__(
        self,
        responder: Responder,
        jar: CookieJar,
        *,
        may_recurse: bool = False,
        may_transfer: bool = False,
        limiter: RateLimiter | None = None,
        local_names: LocalNames | None = None,
    ) -> None:
        self.responder = responder
        self.local_names = local_names
        self.jar = jar
        self.may_recurse = may_recurse
        self.may_transfer = may_transfer
        self.limiter = limiter
        self.minimal_any = self.is_datagram and limiter is not None  # RFC 8482: where senders can be forged

    def __repr__(self) -> str:
        return f"<QueryProcessor {self.responder!r}{' recursive' if self.may_recurse else ''}>"

    def respond(self, data: bytes, client: str, now: float, wall: float) -> Reply:
        """Return the reply to a message. `now`: monotonic clock, `wall`: time of day, both in seconds."""
        query = parse_query(data)
        if query is None:
            return None
        if isinstance(query, Query):
            return self.reply(query, client, now, wall)
        refusal = self.responder.refusal(0, query[3] & 0xF)
        if self.limiter is not None and self.limiter.judge(client, refusal.rate_limit_key, now) is not Verdict.SEND:
            return None  # DROP or SLIP: the refusal is a header only, as short as a truncated answer
        refusal.tally[0] += 1
        return query

    def reply(self, query: Query, client: str, now: float, wall: float) -> Reply:
        """Return the reply to a well-formed query."""
        data, edns = query.data, query.edns
        opt, is_proved = b"", False
        answer: CompiledAnswer | None = None
        if edns is not None:
            _, do, version, cookie = edns
            opt = OPT_REPLIES[do]
            if version:  # RFC 6891 §6.1.3
                answer, opt = self.responder.refusal(query.qtype, codes.BADVERS), OPT_BADVERS
            elif cookie is not None:
                baked = self.jar.answer(cookie, client, int(wall))
                if baked is None:
                    return error_reply(data, codes.FORMERR)
                opt, is_proved = opt_with_cookie(do, baked[0]), baked[1]
        if answer is None:
            if query.qtype == codes.AXFR and self.may_transfer:
                return Action.TRANSFER
            answer = self.responder.answer(query.key, query.question[-4:], minimal_any=self.minimal_any)
            if answer is None:
                answer = self._answer_outside(query)
                if answer is None:
                    return Action.RECURSE
        shape = query.head_index + 4 * self.may_recurse
        if self.limiter is not None and not is_proved:
            verdict = self.limiter.judge(client, answer.rate_limit_key, now)
            if verdict is not Verdict.SEND:
                return None if verdict is Verdict.DROP else truncated(data, query.end, shape, answer, opt)
        answer.tally[0] += 1
        reply = b"".join((data[:2], answer.full_heads[shape], query.question, next(answer.body_cycle), opt))
        limit = MAX_MESSAGE_BYTES if not self.is_datagram else edns[0] if edns is not None else MAX_PLAIN_UDP_BYTES
        return reply if len(reply) <= limit else shortened(data, query.end, shape, answer, opt, limit)

    def _answer_outside(self, query: Query) -> CompiledAnswer | None:
        """Return the answer to a query that leads outside our zones; None if the resolvers are to be asked."""
        tail = query.question[-4:]
        partial = self.responder.partial_answer(query.key, tail)
        if self.may_recurse and query.recursion_desired and query.qtype not in (codes.AXFR, codes.IXFR):
            local = None
            if self.local_names is not None and (partial is None or not partial.outside):  # no alias of ours
                local = self.local_names.answer(query.key, tail)
            return None if local is None else partial or local
        return partial or self.responder.refusal(query.qtype, codes.REFUSED)


def shortened(data: bytes, end: int, shape: int, answer: CompiledAnswer, opt: bytes, limit: int) -> bytes:
    """Return the reply without its additional section (RFC 2181 §9), truncated if it is still longer than `limit`.

    `data`: the query, whose question ends at `end`.
    """
    if answer.without_additional is not None:
        heads, body = answer.without_additional
        reply = b"".join((data[:2], heads[shape], data[HEADER_BYTES:end], body, opt))
        if len(reply) <= limit:
            return reply
    return truncated(data, end, shape, answer, opt)


def truncated(data: bytes, end: int, shape: int, answer: CompiledAnswer, opt: bytes) -> bytes:
    """Return a reply without records and with the TC flag, so that the client retries over TCP."""
    return b"".join((data[:2], answer.truncated_heads[shape], data[HEADER_BYTES:end], opt))
