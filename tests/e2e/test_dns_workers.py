"""What DNS clients see of several workers: limits and cookies mean the same, whichever worker a datagram reaches.

The kernel spreads the sockets of the clients over the workers.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import dns.edns
import dns.message
import dns.query
import httpx
import pytest

from npserver.cli.dns import main
from tests.stage.counting_resolver import CountingResolver
from tests.stage.program import Program

Start = Callable[..., Program]
CLIENTS = 40
ZONE = {"www.lan": {"A": "192.0.2.1"}, **{f"n{number}.lan": {"A": "192.0.2.2"} for number in range(4 * CLIENTS)}}


def config(port: int, rule: dict[str, Any] | None = None, **parts: Any) -> dict[str, Any]:
    return {
        "workers": 2,
        "listen": [f"udp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port}"],
        "dns": ZONE,
        "dispatch": [{"handler": "dns", **(rule or {})}],
        **parts,
    }


def answered(port: int, query: dns.message.Message, turn: int = 0) -> list[dns.message.Message]:
    """Send a query from many sockets. Return the replies, once all sockets have got that to a query of their own.

    Queries of their own are others in each turn.
    """
    found = []
    names = [f"n{turn * CLIENTS + number}.lan." for number in range(CLIENTS)]
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(CLIENTS)]
        for name, client in zip(names, clients, strict=True):
            client.settimeout(20)
            client.connect(("127.0.0.1", port))
            client.send(query.to_wire())
            client.send(dns.message.make_query(name, "A").to_wire())  # the same worker answers it after
        for name, client in zip(names, clients, strict=True):
            while True:
                reply = dns.message.from_wire(client.recv(4096))
                if reply.question[0].name.to_text() == name:
                    break
                found.append(reply)
    return found


@pytest.mark.parametrize("name", ["www.lan", "missing.lan", "www.example.net"])
def test_a_limit_of_answers_is_that_of_all_workers(
    program: Start, free_port: Callable[[], int], resolver: CountingResolver, name: str
) -> None:
    """Also of answers of resolvers, which are in the cache of both workers."""
    port = free_port()
    rule = {"public": True, "rate_limit": "5/h", "rate_limit_slip": 0}
    parts = config(port, rule, dns_forward={"resolvers": [resolver.address]})
    started = program(config=parts)
    query = dns.message.make_query(name, "A")
    assert dns.query.tcp(query, "127.0.0.1", port=port, timeout=20)  # over TCP, there is no limit
    assert len(answered(port, query)) == 5
    started.configure({**parts, "logging": {"dns_queries": True}})
    started.send_signal(signal.SIGHUP)
    started.wait_for_new("reload")
    assert answered(port, query) == []


def test_a_limited_answer_of_a_resolver_may_be_truncated(
    program: Start, free_port: Callable[[], int], resolver: CountingResolver
) -> None:
    port = free_port()
    rule = {"public": True, "rate_limit": "5/h", "rate_limit_slip": 7}
    program(config=config(port, rule, dns_forward={"resolvers": [resolver.address]}))
    query = dns.message.make_query("www.example.net", "A")
    dns.query.tcp(query, "127.0.0.1", port=port, timeout=20)
    replies = answered(port, query)
    assert sum(bool(one.flags & dns.flags.TC) for one in replies) == (CLIENTS - 5) // 7
    assert sum(bool(one.answer) for one in replies) == 5


@pytest.mark.parametrize("name", ["www.lan", "www.example.net"])
def test_a_cookie_of_one_worker_is_believed_by_all(
    program: Start, free_port: Callable[[], int], resolver: CountingResolver, name: str
) -> None:
    """Who has one is not limited, also after a reload (RFC 7873, RFC 9018)."""
    port = free_port()
    rule = {"public": True, "rate_limit": "1/h", "rate_limit_slip": 0}
    parts = config(port, rule, dns_forward={"resolvers": [resolver.address]})
    started = program(config=parts)
    asked = dns.message.make_query(name, "A", options=[dns.edns.CookieOption(b"client--", b"")])
    first = dns.query.udp(asked, "127.0.0.1", port=port, timeout=20)
    proved = dns.message.make_query(name, "A", options=list(first.options))
    for turn in range(2):
        replies = answered(port, proved, turn)
        assert len(replies) == CLIENTS
        assert all(one.options == first.options for one in replies)
        started.configure({**parts, "logging": {"dns_queries": True}})
        started.send_signal(signal.SIGHUP)
        started.wait_for_new("reload")
    assert answered(port, asked, 2) == []


def test_each_worker_asks_an_equal_question_once(
    program: Start, free_port: Callable[[], int], resolver: CountingResolver
) -> None:
    """All clients wait while the resolver does; the question is sent by each worker that has clients, and once."""
    port, page = free_port(), free_port()
    parts = config(port, dns_forward={"resolvers": [resolver.address], "timeout": "20s", "total_timeout": "20s"})
    parts["listen"].append(f"http://127.0.0.1:{page}")
    parts["dispatch"].append({"handler": "status", "path": "/status"})
    started = program(config=parts)
    resolver.may_answer.clear()
    query = dns.message.make_query("www.example.net", "A")
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(CLIENTS)]
        for client in clients:
            client.settimeout(20)
            client.connect(("127.0.0.1", port))
            client.send(query.to_wire())

        def all_wait() -> bool:
            text = httpx.get(f"http://127.0.0.1:{page}/status?format=prometheus", timeout=20).text
            return f'npserver_dns_cache_total{{result="misses"}} {CLIENTS}\n' in text

        started.wait_until(all_wait, "the questions of all clients")
        resolver.may_answer.set()
        for client in clients:
            assert str(dns.message.from_wire(client.recv(4096)).answer[0][0]) == "198.51.100.7"
    assert len(resolver.asked) == 2
    assert len(answered(port, query)) == CLIENTS
    assert len(resolver.asked) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_the_cache_is_emptied_by_a_command(
    program: Start, free_port: Callable[[], int], resolver: CountingResolver, workers: int
) -> None:
    """Its answers have a TTL of ten minutes."""
    port = free_port()
    started = program(config=config(port, workers=workers, dns_forward={"resolvers": [resolver.address]}))
    query = dns.message.make_query("www.example.net", "A")
    assert dns.query.tcp(query, "127.0.0.1", port=port, timeout=20).answer
    assert len(answered(port, query)) == CLIENTS
    assert len(resolver.asked) == 1
    assert main(["flush", "-config", str(started.config_file)]) == 0
    started.wait_until(lambda: answered(port, query) and len(resolver.asked) > 1, "question after the flush")
    assert 2 <= len(resolver.asked) <= 1 + max(workers, 1)
