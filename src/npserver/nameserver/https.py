"""DNS over HTTPS (RFC 8484): the handler of a `dns` rule on a listener that speaks HTTP."""

from __future__ import annotations

import base64
import binascii
from functools import partial
from typing import TYPE_CHECKING

from npserver.dns.message import codes
from npserver.dns.message.header import error_reply
from npserver.nameserver.query_processor import QueryProcessor, Recursion, UpdateRequest
from npserver.nameserver.resolver.messages import shortest_ttl
from npserver.regex import regex
from npserver.web.server.whole_body import WholeBody

if TYPE_CHECKING:
    from npserver.nameserver.access_policy import AccessPolicy
    from npserver.web.exchange import Exchange

MEDIA_TYPE = b"application/dns-message"
MAX_QUERY_BYTES = 65_535
_PARAMETER = regex(r"(?:^|&)dns=([A-Za-z0-9_-]*)=*(?:&|$)")


class DnsOverHttps:
    """Answers the DNS query in an HTTP request."""

    def __init__(self, policy: AccessPolicy[QueryProcessor]) -> None:
        self.policy = policy
        self._server = policy.server

    def __repr__(self) -> str:
        return f"<DnsOverHttps {self._server!r}>"

    def handle(self, exchange: Exchange) -> None:
        """Answer GET with `?dns=` in base64url, and POST with the message as its body (RFC 8484 §4.1)."""
        request = exchange.request
        if request.method in ("GET", "HEAD"):
            match = _PARAMETER.search(request.query)
            if match is None:
                exchange.fail(400, "expected a query parameter dns in base64url, RFC 8484 §4.1")
                return
            try:
                text = match[1]
                self.answer(exchange, base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            except binascii.Error:
                exchange.fail(400, "query parameter dns is not valid base64url, RFC 8484 §4.1")
        elif request.method == "POST":
            kind = request.fields.get(b"content-type", b"").partition(b";")[0].strip().lower()
            if kind != MEDIA_TYPE:
                exchange.fail(
                    415,
                    "expected application/dns-message, RFC 8484 §4.1",
                    fields=b"Accept: application/dns-message\r\n",
                )
                return
            exchange.receive(WholeBody(MAX_QUERY_BYTES, partial(self._take, exchange)))
        else:
            exchange.fail(405, "expected GET or POST, RFC 8484 §4.1", fields=b"Allow: GET, HEAD, POST\r\n")

    def _take(self, exchange: Exchange, data: bytes | None) -> None:
        if data is None:
            exchange.fail(413, "a DNS message has at most 65535 bytes, RFC 8484 §6")
        else:
            self.answer(exchange, data)

    def answer(self, exchange: Exchange, data: bytes) -> None:
        """Answer a DNS message: now, or once a resolver has answered."""
        server = self._server
        server.queries["https"][0] += 1
        started = self.policy.started()
        processor = self.policy.only or self.policy.choose(exchange.client_ip)
        if server.on_question is not None:
            server.on_question(exchange.client_ip)
        reply = processor.respond(data, exchange.client_ip, 0.0, server.wall)
        if isinstance(reply, Recursion):
            exchange.source = _NoSource()
            source = "cache"
            server.resolve(
                processor, reply.query, lambda answer: self._deliver(exchange, data, answer, started, source)
            )
            source = "resolvers"
            return
        if isinstance(reply, UpdateRequest):
            reply = error_reply(data, codes.REFUSED)  # they are taken over udp, tcp, ssl and quic
        answer = reply if isinstance(reply, bytes) else None
        self.policy.log("https", exchange.client_ip, data, answer, processor, started=started)
        if isinstance(reply, bytes):
            self._send(exchange, reply)
        else:
            exchange.fail(400, "the message is not a DNS query, RFC 8484 §4.1")

    def _deliver(self, exchange: Exchange, data: bytes, reply: bytes, started: float, source: str) -> None:
        self.policy.log("https", exchange.client_ip, data, reply, started=started, source=source)
        if not exchange.is_gone:
            self._send(exchange, reply)

    def _send(self, exchange: Exchange, reply: bytes) -> None:
        """Send the reply; caches may keep it no longer than its shortest TTL (RFC 8484 §5.1)."""
        fields = b"Content-Type: application/dns-message\r\nCache-Control: max-age=%d\r\n" % shortest_ttl(reply)
        exchange.respond(200, fields, bytes(reply))  # none of its subclasses, which libraries need not take


class _NoSource:
    """The response source of a query that awaits a resolver: it has nothing to pause or cancel."""

    __slots__ = ()

    def pause(self) -> None:
        """Do nothing: no response is being sent yet."""

    def resume(self) -> None:
        """Do nothing: no response is being sent yet."""

    def cancel(self) -> None:
        """Do nothing: the answer is dropped when it arrives, by `exchange.is_gone`."""
