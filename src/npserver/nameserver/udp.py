"""DNS over UDP: the front of a `udp` listener with handler `dns`."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING

from npserver.dns.message import codes
from npserver.dns.message.edns import COOKIE_OPTION, MAX_PLAIN_UDP_BYTES, make_option
from npserver.dns.message.header import OPCODE_MASK, OPCODE_SHIFT, error_reply
from npserver.dns.message.padding import with_options
from npserver.dns.message.query import Query, parse_query
from npserver.nameserver.query_processor import Recursion, UpdateRequest
from npserver.nameserver.resolver.answer import LastingReply
from npserver.nameserver.resolver.messages import fail_because, truncate

if TYPE_CHECKING:
    from npserver.nameserver.access_policy import AccessPolicy
    from npserver.nameserver.udp_query_processor import UdpQueryProcessor
    from npserver.runtime.front import Client, DatagramSocket

_NO_RECORDS = bytes(6)  # the counts of a query's records in its header
_OPCODE = OPCODE_MASK << OPCODE_SHIFT >> 8  # its bits in byte 2 of the header


class DnsOverUdp:
    """The front of a UDP listener: answers each query datagram."""

    def __init__(self, policy: AccessPolicy[UdpQueryProcessor]) -> None:
        self._server = server = policy.server
        self.policy = policy
        self._queries = server.queries["udp"]
        self._now = server.context.loop.time
        self._is_logged = policy.query_logging is not None
        #: The processor of all clients, if answers are neither limited per client nor logged.
        self._shared = policy.only
        if self._shared is not None and (self._shared.limiter is not None or self._is_logged):
            self._shared = None

    def __repr__(self) -> str:
        return f"<DnsOverUdp {self._server!r}>"

    def close(self) -> None:
        """Flush the counters when another front takes over after a reload."""
        self._server.flush()

    def drain(self) -> DrainedDnsOverUdp:
        """Return the front of the drained listener."""
        return DrainedDnsOverUdp(self.policy)

    def undrain(self) -> DnsOverUdp:
        """Return the front of the listener that is not drained any more."""
        return DnsOverUdp(self.policy)

    def datagram(self, data: bytes, client: Client, socket: DatagramSocket) -> None:
        """Answer one query datagram."""
        reply = self._answer(data, client, socket)
        if reply is not None:
            socket.send(reply, client)

    def answer_batch(
        self, datagrams: list[bytes], client: Callable[[int], Client], socket: DatagramSocket
    ) -> list[bytes | None]:  # hot: dns-hits
        """Return the reply to each datagram by its index, None where there is none (yet).

        Called by `listen.datagram_batch`; `client` returns the sender of the datagram at an index.
        """
        processor = self._shared
        if processor is None:
            return [self._answer(data, client(place), socket) for place, data in enumerate(datagrams)]
        self._queries[0] += len(datagrams)
        find = processor.replies.get
        answers: list[bytes | None] = []
        for data in datagrams:
            known = find(data[2:])
            if known is not None:
                turn, tally = known
                tally[0] += 1
                answers.append(data[:2] + turn())
            else:
                # The reply to a question without any records does not depend on the client.
                host = "" if data[6:12] == _NO_RECORDS and not data[2] & _OPCODE else str(client(len(answers))[0])
                reply = processor.respond(data, host, 0.0, self._server.wall)
                if isinstance(reply, UpdateRequest):
                    self._update(reply, data, client(len(answers)), socket)
                answers.append(reply if isinstance(reply, bytes) else None)
        return answers

    def _answer(self, data: bytes, client: Client, socket: DatagramSocket) -> bytes | None:  # hot: dns-hits
        self._queries[0] += 1
        started = perf_counter() if self._is_logged else 0.0
        host = str(client[0])
        processor = self.policy.only or self.policy.choose(host)
        known = processor.replies.get(data[2:])
        reply: object
        if known is not None:
            turn, tally = known
            tally[0] += 1
            reply = data[:2] + turn()
        else:
            reply = processor.respond(data, host, self._now(), self._server.wall)
            if isinstance(reply, Recursion):
                return self._recurse(processor, reply.query, client, socket, started)
            if isinstance(reply, UpdateRequest):
                self._update(reply, data, client, socket)
                return None
        answer = reply if isinstance(reply, bytes) else None
        if started:
            self.policy.log("udp", host, data, answer, processor, started=started)
        return answer

    def _update(self, request: UpdateRequest, data: bytes, client: Client, socket: DatagramSocket) -> None:
        def deliver(reply: bytes) -> None:
            socket.send(reply, client)
            self.policy.log("udp", str(client[0]), data, reply, started=started, source="updates")

        started = self.policy.started()
        self._server.update(request, str(client[0]), deliver)

    def _cookie(self, processor: UdpQueryProcessor, query: Query, client: Client) -> bytes:
        """Return the option with the server cookie for the client (RFC 7873 §5.2); empty if it has not sent its own."""
        sent = query.edns[3] if query.edns is not None and not query.is_signed else None
        baked = processor.jar.answer(sent, str(client[0]), int(self._server.wall)) if sent is not None else None
        return make_option(COOKIE_OPTION, baked[0]) if baked is not None else b""

    def _recurse(
        self, processor: UdpQueryProcessor, query: Query, client: Client, socket: DatagramSocket, started: float
    ) -> bytes | None:  # hot: dns-forward-hit
        """Return the reply, if the cache has it; else None, and send it once a resolver has answered."""
        server, data = self._server, query.data
        limit, cookie = MAX_PLAIN_UDP_BYTES, b""
        if query.edns is not None:
            limit = query.edns[0]
            cookie = self._cookie(processor, query, client)
        at_once: bytes | None = None
        is_late = False

        def deliver(reply: bytes) -> None:
            nonlocal at_once
            told = reply  # the log says what has decided, not what fits
            if len(reply) + len(cookie) > limit:
                reply = truncate(query)
            if cookie:
                reply = with_options(reply, cookie)
            elif type(reply) is LastingReply and not started:
                processor.keep_for_now(data, reply, reply.tally)
            if started:
                source = "resolvers" if is_late else "cache"
                self.policy.log("udp", str(client[0]), data, told, started=started, source=source)
            if is_late:
                socket.send(reply, client)
            else:
                at_once = reply

        server.resolve(processor, query, deliver)
        is_late = True
        return at_once


class DrainedDnsOverUdp(DnsOverUdp):
    """The front of a drained listener (`npserver drain`): each query fails, and the client asks another server.

    The answer is SERVFAIL, at which stub resolvers, resolvers and load balancers go on to the next server at once, and
    says "not ready" (RFC 8914 §4.15).
    """

    def answer_batch(
        self, datagrams: list[bytes], client: Callable[[int], Client], socket: DatagramSocket
    ) -> list[bytes | None]:
        """Return the replies."""
        return [self._answer(data, client(place), socket) for place, data in enumerate(datagrams)]

    def _answer(self, data: bytes, client: Client, socket: DatagramSocket) -> bytes | None:
        self._queries[0] += 1
        query = parse_query(data)
        if query is None:
            return None
        if isinstance(query, Query):
            reply, rtype = fail_because(query, codes.SERVFAIL, codes.EDE_NOT_READY, "drained"), query.qtype
        else:
            reply, rtype = error_reply(data, codes.SERVFAIL), 0
        host = str(client[0])
        processor = self.policy.only or self.policy.choose(host)
        answer = processor.limited(reply, host, self._now(), rtype)
        if self._is_logged:
            self.policy.log("udp", host, data, answer, started=perf_counter(), source="drain")
        return answer
