"""Questions to resolvers, zone transfers and connections told apart by server name leave no reference cycle either.

As in `tests.protocols.test_reference_cycles`: the collector is off, and each kind of client comes `CLIENTS` times.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import dns.flags
import dns.message
import dns.rrset
import pytest

from tests.stage.ports import free_port
from tests.stage.uncollected import Uncollected

CLIENTS = 12
HOST = "127.0.0.1"
OF_TRANSPORTS = {
    "asyncio.selector_events._SelectorSocketTransport", "asyncio.trsock.TransportSocket", "socket.socket",
    "builtins.dict", "builtins.tuple", "builtins.method",
}  # fmt: skip
NUMBERS = itertools.count()
OVER_STREAMS = {f"{how} on a kept connection" for how in ("ok", "lost", "fail", "cut")} | {
    "tc over UDP", "tc over TCP", "cut over TCP"
}  # fmt: skip


def reply_to(data: bytes, *, is_udp: bool) -> list[bytes]:
    """Return what the resolver sends: the first label of the name says how it fails."""
    query = dns.message.from_wire(data)
    how = query.question[0].name.labels[0].decode().partition("-")[0]
    reply = dns.message.make_response(query, recursion_available=True)
    if how == "lost" or (how == "cut" and not is_udp):
        return []
    if how == "head":
        return [data[:2] + b"\x81\x82" + bytes(8)]
    if how == "fail":
        reply.set_rcode(dns.rcode.SERVFAIL)
    elif how in {"tc", "cut"} and is_udp:
        reply.flags |= dns.flags.TC
    else:
        reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "198.51.100.7"))
    wire = reply.to_wire()
    return [b"\0\0" + wire[2:]] * 20 if how == "forged" else [wire]


class Udp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        for reply in reply_to(self.request[0], is_udp=True):
            self.request[1].sendto(reply, self.client_address)


class Tcp(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        size = int.from_bytes(self.rfile.read(2), "big")
        for reply in reply_to(self.rfile.read(size), is_udp=False):
            self.wfile.write(struct.pack("!H", len(reply)) + reply)


class Servers:
    """The server under test, its resolver, and a target of forwards."""

    def __init__(self, loop: str) -> None:
        port = free_port()
        self.resolvers = [
            socketserver.ThreadingUDPServer((HOST, port), Udp),
            socketserver.ThreadingTCPServer((HOST, port), Tcp),
        ]
        for one in self.resolvers:
            threading.Thread(target=one.serve_forever, args=(0.05,), daemon=True).start()
        zones = {"kept.example": [f"tcp://{HOST}:{port}"]}
        forward = {
            "resolvers": [f"{HOST}:{port}"], "zones": zones, "timeout": 0.05, "total_timeout": 0.15, "stale": 1,
            "prefetch": True,
        }  # fmt: skip
        target = f"tcp://{HOST}:{port}"
        config = {
            "logging": {"level": "error"},
            "listen": [
                {"name": "udp", "uri": f"udp://{HOST}:0"},
                {"name": "tcp", "uri": f"tcp://{HOST}:0"},
                {"name": "sni", "uri": f"tcp://{HOST}:0"},
            ],
            "dns": {f"n{number}.home": {"A": "192.0.2.1"} for number in range(2000)}
            | {f"*.{how}.home": {"CNAME": f"{how}.elsewhere.net"} for how in ("ok", "fail", "lost")},
            "dns_forward": forward,
            "dispatch": [
                {"handler": "dns", "listener": ["udp", "tcp"], "allow_transfer": HOST},
                {"handler": "forward", "listener": "sni", "sni": "a.example", "forward_to": target},
                {"handler": "forward", "listener": "sni", "forward_to": target, "sni_timeout": 0.05, "timeout": 0.2},
            ],
        }
        self.loop = loop
        self.server = Uncollected(loop, config)

    def close(self) -> None:
        with self.server:
            pass
        for one in self.resolvers:
            one.shutdown()
            one.server_close()

    def connect(self, name: str) -> socket.socket:
        return socket.create_connection((HOST, self.server.ports[name]), 30)


Client = Callable[[Servers], None]


def over_udp(name: str) -> Client:
    def client(servers: Servers) -> None:
        query = dns.message.make_query(name.format(next(NUMBERS)), "A", use_edns=0).to_wire()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.settimeout(30)
            one.sendto(query, (HOST, servers.server.ports["udp"]))
            assert one.recv(65_536)[:2] == query[:2]

    return client


def over_tcp(name: str, kind: str = "A", *, is_left: bool = False) -> Client:
    def client(servers: Servers) -> None:
        query = dns.message.make_query(name.format(next(NUMBERS)), kind).to_wire()
        with servers.connect("tcp") as one:
            one.sendall(struct.pack("!H", len(query)) + query)
            if not is_left:
                assert one.recv(2)

    return client


def by_name(sent: bytes, *, ends: bool = False) -> Client:
    def client(servers: Servers) -> None:
        with servers.connect("sni") as one, contextlib.suppress(ConnectionError):
            one.sendall(sent)
            if ends:
                one.shutdown(socket.SHUT_WR)
            while one.recv(65_536):
                pass

    return client


KINDS: dict[str, Client] = {
    **{
        f"{how} over UDP": over_udp(how + "-{}.elsewhere.net") for how in ("ok", "lost", "fail", "head", "forged", "tc")
    },
    **{f"{how} over TCP": over_tcp(how + "-{}.elsewhere.net") for how in ("ok", "lost", "fail", "head", "tc", "cut")},
    **{f"{how} on a kept connection": over_udp(how + "-{}.kept.example") for how in ("ok", "lost", "fail", "cut")},
    **{f"alias to {how}": over_udp("a{}." + how + ".home") for how in ("ok", "fail", "lost")},
    "local name": over_udp("x{}.test"),
    "client left": over_tcp("lost-{}.elsewhere.net", is_left=True),
    "transfer": over_tcp("home", "AXFR"),
    "transfer left": over_tcp("home", "AXFR", is_left=True),
    "silent": by_name(b""),
    "ended": by_name(b"", ends=True),
    "half a hello": by_name(b"\x16\x03\x01\0", ends=True),
    "no TLS": by_name(b"GET / HTTP/1.0\r\n\r\n"),
}


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    made = Servers(request.param)
    yield made
    made.close()


def left_by(servers: Servers, kinds: Iterable[str]) -> set[str]:
    """Return the types of which each client of one of these kinds has left an object."""
    with ThreadPoolExecutor(4 * CLIENTS) as clients:
        for done in [clients.submit(KINDS[kind], servers) for _ in range(CLIENTS) for kind in kinds]:
            done.result(30)
    left = {name for name, number in servers.server.count().items() if number >= CLIENTS}
    if servers.loop == "asyncio" and set(kinds) <= OVER_STREAMS:  # its transports are cycles of their own
        left -= OF_TRANSPORTS
    return left


@pytest.mark.parametrize("kinds", [OVER_STREAMS, KINDS.keys() - OVER_STREAMS], ids=["over streams", "others"])
def test_a_client_leaves_no_cycle(servers: Servers, kinds: set[str]) -> None:
    """All kinds come at once; if any leaves something, one after another."""
    if left_by(servers, kinds):
        assert {kind: left for kind in kinds if (left := left_by(servers, [kind]))} == {}
