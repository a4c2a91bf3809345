"""DNS over UDP: the front of a `udp` listener with handler `dns`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.dns.channel import Aside
from npserver.dns.edns import PLAIN_UDP_BYTES
from npserver.dns.query import Query, parse_query
from npserver.dns.relayed import truncate

if TYPE_CHECKING:
    from npserver.dns.datagrams import DatagramChannel
    from npserver.serve.dns_server import Channels
    from npserver.serve.front import Client, DatagramSocket


class DatagramDns:
    """Serves datagrams by answering the question in each."""

    def __init__(self, channels: Channels[DatagramChannel]) -> None:
        self._server = server = channels.server
        self._channels = channels
        self._queries = server.queries["udp"]
        self._now = server.context.loop.time
        self._only = channels.only
        if self._only is not None and self._only.limiter is None and server.access_log is None:
            self._replies = self._only.replies
            self.datagram = self._take_plain
        else:
            self.datagram = self._take_any

    def __repr__(self) -> str:
        return f"<DatagramDns {self._server!r}>"

    def close(self) -> None:
        """Another front takes over."""
        self._server.flush()

    def _take_plain(self, data: bytes, client: Client, socket: DatagramSocket) -> None:  # hot: dns.hit
        self._queries[0] += 1
        known = self._replies.get(data[2:])
        if known is not None:
            turn, answer = known
            answer.tally[0] += 1
            socket.send(data[:2] + next(turn), client)
            return
        reply = self._only.respond(data, client[0], 0.0, self._server.wall)  # type: ignore[union-attr, arg-type]
        if reply.__class__ is bytes:
            socket.send(reply, client)

    def _take_any(self, data: bytes, client: Client, socket: DatagramSocket) -> None:  # hot: dns.public
        self._queries[0] += 1
        host = str(client[0])
        channel = self._only or self._channels.choose(host)
        known = channel.replies.get(data[2:])
        reply: object
        if known is not None:
            turn, answer = known
            answer.tally[0] += 1
            reply = data[:2] + next(turn)
        else:
            reply = channel.respond(data, host, self._now(), self._server.wall)
        if isinstance(reply, bytes):
            socket.send(reply, client)
        elif reply is Aside.RELAY:
            self._relay(data, client, socket)
            return
        if self._server.access_log is not None:
            self._server.log("udp", host, data, reply if isinstance(reply, bytes) else None)

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
