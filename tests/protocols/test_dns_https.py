"""DNS over HTTPS (RFC 8484): GET and POST, cache headers, what is refused; the real HTTP server over memory."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import dns.message
import pytest

from npserver.dns.message.query import Query
from npserver.nameserver.access_policy import AccessPolicy
from npserver.nameserver.https import DnsOverHttps
from npserver.nameserver.name_server import NameServer
from npserver.nameserver.query_processor import QueryProcessor
from npserver.nameserver.resolver.messages import fail
from npserver.networks import Networks, parse_network
from tests.protocols.memory import Server
from tests.stage.nameserver import ODDITIES, tables_of

TYPE = b"Content-Type: application/dns-message\r\n"


class LateResolvers:
    def __init__(self) -> None:
        self.asked: list[tuple[Query, Callable[[bytes], None]]] = []

    def flush(self) -> None:
        """Have nothing to count."""

    def ask(self, query: Query, deliver: Callable[[bytes], None]) -> None:
        self.asked.append((query, deliver))


class Stage:
    def __init__(self) -> None:
        self.resolvers = LateResolvers()
        self.handler: Any = None
        handler: Any = self
        self.http = Server(handler)
        resolvers: Any = self.resolvers
        recursion_clients = Networks([parse_network("192.0.2.0/24")])
        server = NameServer(self.http.context, [(None, tables_of(ODDITIES))], resolvers, recursion_clients)
        self.handler = DnsOverHttps(AccessPolicy(server, QueryProcessor))

    def handle(self, exchange: Any) -> None:
        self.handler.handle(exchange)

    def exchange(self, request: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
        client = self.http.connect()
        client.send(request)
        return parsed(client.take())


def parsed(data: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    return int(first.split(b" ")[1]), fields, body


def wire(name: str = "mx1.example.com", kind: str = "A") -> bytes:
    return dns.message.make_query(name, kind, id=0).to_wire()


def get(data: bytes, method: bytes = b"GET") -> bytes:
    return method + b" /dns-query?dns=" + base64.urlsafe_b64encode(data).rstrip(b"=") + b" HTTP/1.1\r\nHost: x\r\n\r\n"


def post(data: bytes, fields: bytes = TYPE) -> bytes:
    return b"POST /dns-query HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n" % (fields, len(data)) + data


@pytest.mark.parametrize("make", [get, post])
def test_a_question_by_get_or_post_is_answered(make: Callable[[bytes], bytes]) -> None:
    status, fields, body = Stage().exchange(make(wire()))
    assert status == 200
    assert fields[b"content-type"] == b"application/dns-message"
    assert fields[b"cache-control"] == b"max-age=60"  # RFC 8484 §5.1: the shortest TTL
    assert str(dns.message.from_wire(body).answer[0][0]) == "192.0.2.4"


@pytest.mark.parametrize(
    ("name", "kind", "rcode", "age"),
    [
        ("missing.example.com", "A", 3, b"120"),
        ("mx1.example.com", "MX", 0, b"120"),
        ("sub.example.com", "AXFR", 5, b"0"),
    ],
)
def test_cache_headers_of_a_no(name: str, kind: str, rcode: int, age: bytes) -> None:
    status, fields, body = Stage().exchange(get(wire(name, kind)))
    assert (status, dns.message.from_wire(body).rcode(), fields[b"cache-control"]) == (200, rcode, b"max-age=" + age)


def test_long_answers_are_whole() -> None:
    _, _, body = Stage().exchange(post(wire("big.example.com", "TXT")))
    assert len(dns.message.from_wire(body).answer[0]) == 30


def test_head_gives_the_length() -> None:
    status, fields, body = Stage().exchange(get(wire(), b"HEAD"))
    assert (status, body) == (200, b"")
    assert int(fields[b"content-length"]) > 40


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /dns-query HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /dns-query?dns= HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /dns-query?dns=A HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /dns-query?dns=A+B HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /dns-query?xdns=AAAA HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (get(b"\0\0\x81\0" + bytes(8)), 400),  # a reply is no question
        (post(b""), 400),
        (post(wire(), b""), 415),
        (post(wire(), b"Content-Type: text/plain\r\n"), 415),
        (post(bytes(65_536)), 413),
        (b"PUT /dns-query HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405),
    ],
)
def test_what_is_no_dns_request_is_refused(request_: bytes, status: int) -> None:
    found, fields, _ = Stage().exchange(request_)
    assert found == status
    assert (b"allow" in fields) == (status == 405)


def test_media_type_parameters_and_case_do_not_matter() -> None:
    assert Stage().exchange(post(wire(), b"content-type: Application/DNS-Message; x=y\r\n"))[0] == 200


def test_a_dns_error_is_no_http_error() -> None:
    status, fields, body = Stage().exchange(post(wire()[:20]))
    assert (status, body[3] & 0xF, fields[b"cache-control"]) == (200, 1, b"max-age=0")


def test_resolvers_answer_later() -> None:
    stage = Stage()
    client = stage.http.connect()
    client.send(get(wire("www.elsewhere.net")))
    assert client.received == b""
    query, deliver = stage.resolvers.asked[0]
    deliver(fail(query, 3))
    stage.http.loop.settle()
    status, _, body = parsed(client.take())
    assert (status, dns.message.from_wire(body).rcode()) == (200, 3)
    client.send(get(wire()))
    assert parsed(client.take())[0] == 200


def test_a_client_that_went_meanwhile() -> None:
    stage = Stage()
    client = stage.http.connect()
    client.send(get(wire("www.elsewhere.net")))
    client.transport.abort()
    stage.http.loop.settle()
    query, deliver = stage.resolvers.asked[0]
    deliver(fail(query, 3))
    assert client.received == b""
