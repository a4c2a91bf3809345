"""DNS over UDP: the front of a `udp` listener with handler `dns`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from npserver.dns.message.edns import PLAIN_UDP_BYTES
from npserver.dns.message.query import Query, parse_query
from npserver.nameserver.channel import Aside
from npserver.nameserver.resolver.messages import truncate

if TYPE_CHECKING:
    from npserver.nameserver.datagram_channel import DatagramChannel
    from npserver.nameserver.name_server import Channels
    from npserver.runtime.front import Client, DatagramSocket


class DatagramDns:
    """Serves datagrams by answering the question in each."""

    def __init__(self, channels: Channels[DatagramChannel]) -> None:
        self._server = server = channels.server
        self._channels = channels
        self._queries = server.queries["udp"]
        self._now = server.context.loop.time
        #: The channel of all clients, where neither client nor outcome makes a difference.
        self._plain = channels.only
        if self._plain is not None and (self._plain.limiter is not None or server.access_log is not None):
            self._plain = None

    def __repr__(self) -> str:
        return f"<DatagramDns {self._server!r}>"

    def close(self) -> None:
        """Another front takes over."""
        self._server.flush()

    def datagram(self, data: bytes, client: Client, socket: DatagramSocket) -> None:
        """Answer one datagram."""
        reply = self._answer(data, client, socket)
        if reply is not None:
            socket.send(reply, client)

    def answer_batch(
        self, datagrams: list[bytes], client: Callable[[int], Client], socket: DatagramSocket
    ) -> list[bytes | None]:  # hot: dns-hits
        """Give the answers of datagrams by their places, None where there is none (yet); see
        `listen.datagram_batch`."""
        channel = self._plain
        if channel is None:
            return [self._answer(data, client(place), socket) for place, data in enumerate(datagrams)]
        self._queries[0] += len(datagrams)
        find = channel.replies.get
        answers: list[bytes | None] = []
        for data in datagrams:
            known = find(data[2:])
            if known is not None:
                turn, tally = known
                tally[0] += 1
                answers.append(data[:2] + turn())
            else:
                # Only what a query says in OPT depends on who asks; there is none where ARCOUNT is 0.
                host = str(client(len(answers))[0]) if data[11:12] != b"\0" else ""
                reply = channel.respond(data, host, 0.0, self._server.wall)
                answers.append(reply if isinstance(reply, bytes) else None)
        return answers

    def _answer(self, data: bytes, client: Client, socket: DatagramSocket) -> bytes | None:  # hot: dns-hits
        self._queries[0] += 1
        host = str(client[0])
        channel = self._channels.only or self._channels.choose(host)
        known = channel.replies.get(data[2:])
        reply: object
        if known is not None:
            turn, tally = known
            tally[0] += 1
            reply = data[:2] + turn()
        else:
            reply = channel.respond(data, host, self._now(), self._server.wall)
            if reply is Aside.RELAY:
                self._relay(data, client, socket)
                return None
        answer = reply if isinstance(reply, bytes) else None
        if self._server.access_log is not None:
            self._server.log("udp", host, data, answer)
        return answer

    def _relay(self, data: bytes, client: Client, socket: DatagramSocket) -> None:
        query = parse_query(data)
        if not isinstance(query, Query) or self._server.forwarder is None:
            return
        limit = PLAIN_UDP_BYTES if query.edns is None else query.edns[0]

        def deliver(reply: bytes) -> None:
            if len(reply) > limit:
                reply = truncate(query)
            socket.send(reply, client)
            self._server.log("udp", str(client[0]), data, reply)

        self._server.forwarder.ask(query, deliver)
