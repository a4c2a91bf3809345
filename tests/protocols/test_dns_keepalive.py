"""The idle timeout that clients over TCP are told is the one that holds (RFC 7828)."""

from __future__ import annotations

import dns.edns
import dns.message

from npserver.nameserver.access_policy import AccessPolicy
from npserver.nameserver.query_processor import QueryProcessor
from npserver.nameserver.stream import DnsOverStream
from npserver.nameserver.stream_front import StreamSettings
from tests.protocols.test_dns_stream import Stage


def asking_for_timeout(name: str = "web.example.com", *codes: int) -> bytes:
    options = [dns.edns.GenericOption(code, b"") for code in codes or (11,)]
    wire = dns.message.make_query(name, "A", use_edns=0, options=options).to_wire()
    return len(wire).to_bytes(2, "big") + wire


def told(reply: dns.message.Message) -> list[tuple[int, bytes]]:
    return [(int(one.otype), one.to_wire()) for one in reply.options]


def test_the_timeout_that_is_told_is_the_one_that_holds() -> None:
    stage = Stage(timeout_s=4)
    connection = stage.connect()
    connection.send(asking_for_timeout())
    assert told(connection.replies()[0]) == [(11, (40).to_bytes(2, "big"))]
    stage.pass_time(3.8)
    assert not connection.transport.is_closing()
    stage.pass_time(0.5)
    assert connection.transport.is_closing()


def test_it_is_short_while_connections_run_short() -> None:
    stage = Stage(timeout_s=60, most=10)
    others = [stage.connect(f"192.0.2.{number}") for number in range(9)]
    connection = stage.connect()
    connection.send(asking_for_timeout())
    assert told(connection.replies()[0]) == [(11, (20).to_bytes(2, "big"))]
    stage.pass_time(2.5)
    assert connection.transport.is_closing()
    for one in others[:5]:
        one.transport.close()
    stage.loop.settle()
    late = stage.connect("192.0.2.99")
    late.send(asking_for_timeout())
    assert told(late.replies()[0]) == [(11, (600).to_bytes(2, "big"))]


def test_answers_of_resolvers_have_the_options_too() -> None:
    stage = Stage()
    stage.front.policy.options.set_nsid("fra1")
    connection = stage.connect()
    connection.send(asking_for_timeout("elsewhere.net", 3, 11))
    stage.resolver_client.answer()
    stage.loop.settle()
    assert told(connection.replies()[0]) == [(3, b"fra1"), (11, (100).to_bytes(2, "big"))]


def test_after_a_reload_the_new_timeout_is_told_and_holds() -> None:
    stage = Stage(timeout_s=60)
    connection = stage.connect()
    connection.send(asking_for_timeout())
    assert told(connection.replies()[0]) == [(11, (600).to_bytes(2, "big"))]
    policy = AccessPolicy(stage.server, QueryProcessor)
    stage.live.front = DnsOverStream(policy, "tcp", StreamSettings(3, 30, 100, 0))
    connection.send(asking_for_timeout())
    assert told(connection.replies()[-1]) == [(11, (30).to_bytes(2, "big"))]
    stage.pass_time(3.5)
    assert connection.transport.is_closing()
