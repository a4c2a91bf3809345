"""Turn a query's bytes into a reply's bytes: the policy shared by DNS over UDP, TCP, TLS, QUIC and HTTPS.

A processor answers clients of one view over one transport. It holds what these clients may ask for: recursion, zone
transfers. `QueryProcessor` makes all checks in turn; `nameserver.udp_query_processor` adds a fast path for UDP. Pure:
client address and time are arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from npserver.dns.message import codes
from npserver.dns.message.cookies import CookieJar
from npserver.dns.message.edns import (
    MAX_PLAIN_UDP_BYTES,
    OPT_BADVERS,
    OPT_REPLIES,
    add_option,
    extended_error,
    opt_with_cookie,
)
from npserver.dns.message.header import (
    AA,
    HEADER_BYTES,
    MAX_MESSAGE_BYTES,
    OPCODE_MASK,
    OPCODE_SHIFT,
    QR,
    error_reply,
)
from npserver.dns.message.query import Query, name_end, parse_query
from npserver.dns.message.tsig import StreamSigner, TsigError, TsigKey, refusal, verify
from npserver.dns.zone.answer import CompiledAnswer
from npserver.dns.zone.content import ZoneChange
from npserver.dns.zone.lookup import Sections
from npserver.dns.zone.responder import Responder
from npserver.dns.zone.transfer import incremental_datagram
from npserver.nameserver.reply_options import ReplyOptions
from npserver.nameserver.resolver.local_names import LocalNames
from npserver.nameserver.resolver.messages import truncate
from npserver.nameserver.response_rate_limit import RateLimiter, Verdict
from npserver.nameserver.transfers.access import TransferAccess

if TYPE_CHECKING:
    from npserver.nameserver.blocking.blocker import Blocker


_PROHIBITED, _NOT_AUTHORITATIVE = map(extended_error, (codes.EDE_PROHIBITED, codes.EDE_NOT_AUTHORITATIVE))


class Recursion(Struct, frozen=True):
    """A task for the front, for a query that no reply from the zones answers: to ask the resolvers of `dns_forward`."""

    query: Query


class TransferRequest(Struct, frozen=True):
    """A task for the front as well: to send the messages of a zone, or of its changes."""

    query: Query


class UpdateRequest(Struct, frozen=True):
    """A task for the front as well: to have a zone updated (RFC 2136), by a key that may update it."""

    data: bytes  # the message without its signature
    zone: bytes  # in lower case
    signature: StreamSigner  # of the reply


#: Byte 2 of the header: the bits that say what a message is, and what they are in an update.
_OPCODE, _UPDATE = (QR | OPCODE_MASK << OPCODE_SHIFT) >> 8, codes.OPCODE_UPDATE << OPCODE_SHIFT >> 8
_RECURSED = b"\xff"  # no name begins so: what answers of resolvers are counted by, with the name asked for
_TRANSFERS = frozenset({codes.AXFR, codes.IXFR})

#: A reply's bytes, a task of the front, or None: send nothing.
Reply = bytes | Recursion | TransferRequest | UpdateRequest | None


class Peers(Struct):
    """What name servers may do here that others may not: the same for all processors of a name server.

    `history` returns the changes of a zone, by its apex, the oldest first. `notified` is called with the apex, the
    client and the name of the key of a NOTIFY, and returns whether it is heeded. `updated`: the zones that may be
    updated, by apex.
    """

    keys: Mapping[bytes, TsigKey] = {}
    history: Callable[[bytes], Sequence[ZoneChange]] = lambda apex: ()
    notified: Callable[[bytes, str, bytes | None], bool] = lambda apex, client, key: False
    updated: frozenset[bytes] = frozenset()


NO_PEERS = Peers()
NO_OPTIONS = ReplyOptions()


class QueryProcessor:
    """Answers the queries of clients with equal rights over a stream, where every answer fits."""

    is_datagram: ClassVar[bool] = False

    __slots__ = (
        "__weakref__",
        "blocker",
        "is_prohibited",
        "jar",
        "limiter",
        "local_names",
        "may_recurse",
        "minimal_any",
        "options",
        "peers",
        "responder",
        "transfers",
    )

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
        self.responder = responder
        self.local_names = local_names
        self.jar = jar
        self.may_recurse = may_recurse
        self.transfers = transfers  # None: nobody may transfer zones
        self.peers = peers
        self.limiter = limiter
        self.options = NO_OPTIONS  # for clients that ask for them, set by `AccessPolicy`
        self.blocker: Blocker | None = None  # of queries for the resolvers, set by `NameServer.make`
        self.is_prohibited = False  # its clients may not ask for what is refused; else nobody may
        self.minimal_any = self.is_datagram and limiter is not None  # RFC 8482: where senders can be forged

    def __repr__(self) -> str:
        return f"<QueryProcessor {self.responder!r}{' recursive' if self.may_recurse else ''}>"

    def respond(self, data: bytes, client: str, now: float, wall: float) -> Reply:
        """Return the reply to a message. `now`: monotonic clock, `wall`: time of day, both in seconds."""
        if self.peers.updated and len(data) >= HEADER_BYTES and data[2] & _OPCODE == _UPDATE:
            return self._reply_to_update(data, client, now, wall)
        query = parse_query(data)
        if query is None:
            return None
        if isinstance(query, Query):
            return (self._reply_signed if query.is_signed else self.reply)(query, client, now, wall)
        return self.limited(query, client, now)

    def limited(self, reply: bytes, client: str, now: float, rtype: int = 0) -> bytes | None:
        """Return a reply that is no compiled answer, and count it, if the client's rate limit lets it through."""
        refused = self.responder.refusal(rtype, reply[3] & 0xF)
        if self.limiter is not None and self.limiter.judge(client, refused.rate_limit_key, now) is not Verdict.SEND:
            return None  # DROP or SLIP: the refusal is no longer than a truncated answer
        refused.tally[0] += 1
        return reply

    def _reply_signed(self, query: Query, client: str, now: float, wall: float) -> Reply:
        """Return the signed reply to a signed query, or what is wrong with its signature (RFC 8945 §5.2)."""
        data, keys = query.data, self.peers.keys
        try:
            found = verify(data, keys, int(wall))
        except TsigError as failure:
            head = error_reply(data, codes.NOTAUTH)
            reply = head[:4] + b"\0\1" + head[6:] + query.question
            return self.limited(refusal(reply, failure, keys, int(wall)), client, now, query.qtype)
        except ValueError:
            return self.limited(error_reply(data, codes.FORMERR), client, now)
        plain = replace(
            query,
            data=data[:2] + found.message(data)[2:],
            is_signed=False,
            signature=StreamSigner(keys[found.name], found.mac),
        )
        answer = self.reply(plain, client, now, wall)
        if isinstance(answer, Recursion):
            return Recursion(query)
        return plain.signature.sign(answer, int(wall)) if isinstance(answer, bytes) and plain.signature else answer

    def _reply_to_update(self, data: bytes, client: str, now: float, wall: float) -> Reply:
        """Return the request to update a zone, or why it is refused before it is read (RFC 2136 §3.1, §3.3)."""
        end, keys = name_end(data, HEADER_BYTES), self.peers.keys
        try:
            found = verify(data, keys, int(wall))
        except TsigError as failure:
            if not failure.code:  # it is not signed
                return self.limited(error_reply(data, codes.REFUSED), client, now)
            return self.limited(refusal(error_reply(data, codes.NOTAUTH), failure, keys, int(wall)), client, now)
        except ValueError:
            return self.limited(error_reply(data, codes.FORMERR), client, now)
        signer, zone = StreamSigner(keys[found.name], found.mac), data[HEADER_BYTES:end].lower()
        if end is None or zone not in self.peers.updated:
            return self.limited(signer.sign(error_reply(data, codes.REFUSED), int(wall)), client, now)
        return UpdateRequest(data[:2] + found.message(data)[2:], zone, signer)

    def sign(self, query: Query, reply: bytes, wall: float) -> bytes:
        """Return the reply that another server has given to a query, signed if the query is."""
        if not query.is_signed:
            return reply
        found = verify(query.data, self.peers.keys, int(wall))
        return StreamSigner(self.peers.keys[found.name], found.mac).sign(reply, int(wall))

    def _reply_to_notify(self, query: Query, client: str, now: float) -> bytes | None:
        """Return the reply to a NOTIFY (RFC 1996 §3.7-3.11)."""
        key = query.signature.key_name if query.signature is not None else None
        is_heeded = query.qtype == codes.SOA and self.peers.notified(query.key, client, key)
        reply = bytearray(error_reply(query.data, codes.NOERROR if is_heeded else codes.REFUSED))
        if is_heeded:
            reply[2] |= AA >> 8
            reply[5] = 1
            reply += query.question
        return self.limited(bytes(reply), client, now, query.qtype)

    def _transfer(self, query: Query, client: str) -> TransferRequest | bytes | None:
        """Return how to answer AXFR or IXFR; None if the client may not transfer the zone."""
        key = query.signature.key_name if query.signature is not None else None
        if self.transfers is None or not self.transfers.of_zone(query.key).allows(client, key):
            return None
        if not self.is_datagram:
            return TransferRequest(query)
        if query.qtype == codes.AXFR:  # RFC 5936 §4.2: over TCP alone
            return None
        history = self.peers.history(query.key)
        return incremental_datagram(self.responder.tables, query, history, self._size_limit(query))

    def _size_limit(self, query: Query) -> int:
        """Return how many bytes the reply to a query may have, with its signature."""
        if not self.is_datagram:
            return MAX_MESSAGE_BYTES
        return MAX_PLAIN_UDP_BYTES if query.edns is None else query.edns[0]

    def reply(self, query: Query, client: str, now: float, wall: float) -> Reply:
        """Return the reply to a well-formed query."""
        data, edns = query.data, query.edns
        if query.opcode:
            return self._reply_to_notify(query, client, now)
        opt, is_proved = b"", False
        answer: CompiledAnswer | None = None
        responder = self.responder
        if edns is not None:
            _, do, version, cookie, asked = edns
            opt = OPT_REPLIES[do]
            if do:
                responder = responder.secure
            if version:  # RFC 6891 §6.1.3
                answer, opt = self.responder.refusal(query.qtype, codes.BADVERS), OPT_BADVERS
            elif cookie is not None:
                baked = self.jar.answer(cookie, client, int(wall))
                if baked is None:
                    return error_reply(data, codes.FORMERR)
                opt, is_proved = opt_with_cookie(do, baked[0]), baked[1]
            if asked and answer is None:
                if self.options.is_wrong(asked):
                    return self.limited(error_reply(data, codes.FORMERR), client, now, query.qtype)
                opt = self.options.add(opt, asked)
        if answer is None:
            if query.qtype in _TRANSFERS and (transfer := self._transfer(query, client)) is not None:
                return self.limited(transfer, client, now, query.qtype) if isinstance(transfer, bytes) else transfer
            answer = responder.answer(query.key, query.question[-4:], minimal_any=self.minimal_any)
            if answer is None:
                answer = self._answer_outside(query, responder)
                if answer is None:
                    return self._recurse(query, client, now, is_proved)
                if opt and answer is self.responder.refusal(query.qtype, codes.REFUSED):
                    opt = add_option(opt, _PROHIBITED if self.is_prohibited else _NOT_AUTHORITATIVE)
        shape = query.head_index + 4 * self.may_recurse
        if self.limiter is not None and not is_proved:
            verdict = self.limiter.judge(client, answer.rate_limit_key, now)
            if verdict is not Verdict.SEND:
                return None if verdict is Verdict.DROP else truncated(data, query.end, shape, answer, opt)
        answer.tally[0] += 1
        reply = b"".join((data[:2], answer.full_heads[shape], query.question, next(answer.body_cycle), opt))
        limit = self._size_limit(query) - (query.signature.size if query.signature is not None else 0)
        return reply if len(reply) <= limit else shortened(data, query.end, shape, answer, opt, limit)

    def _recurse(self, query: Query, client: str, now: float, is_proved: bool) -> Recursion | bytes | None:
        """Return that the resolvers are to be asked, if the client's rate limit lets the answer through."""
        if self.limiter is not None and not is_proved:
            verdict = self.limiter.judge(client, _RECURSED + query.key, now)
            if verdict is not Verdict.SEND:
                return None if verdict is Verdict.DROP else truncate(query)
        return Recursion(query)

    def look_up(self, query: Query) -> Sections | None:
        """Return the sections of the answer from our zones; None if the name is in none of them."""
        responder = self.responder.secure if query.edns is not None and query.edns[1] else self.responder
        return responder.look_up(query.key, query.qtype)

    def _answer_outside(self, query: Query, responder: Responder) -> CompiledAnswer | None:
        """Return the answer to a query that leads outside our zones; None if the resolvers are to be asked."""
        tail = query.question[-4:]
        partial = responder.partial_answer(query.key, tail)
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
