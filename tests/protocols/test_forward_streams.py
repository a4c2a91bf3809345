"""Forwards of connections, the whole server in this process: bad targets, limits, networks, names, PROXY headers.

Covers `forward.streams`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.protocols.forwarding import (
    ask,
    connect,
    dead_port,
    echo,
    named,
    one_stream,
    refused,
    serve,
    stream_server,
    streams,
)
from tests.stage.programs import needs_localhost

SSL_REQUEST = bytes.fromhex("0000000804d2162f")  # PostgreSQL


# ── targets ──


async def test_the_next_target_takes_over_when_one_refuses() -> None:
    async with stream_server(named(b"second ")) as port:
        pool = {"targets": [f"tcp://127.0.0.1:{await dead_port()}", f"tcp://127.0.0.1:{port}"]}
        async with serve(streams([{"forward_to": "upstream://pool"}], upstreams={"pool": pool})) as server:
            for _ in range(4):
                assert await ask(server) == b"second hello"


@needs_localhost
async def test_bytes_sent_before_the_fail_over_are_kept() -> None:
    async with stream_server(echo) as port:
        dead = [f"tcp://127.0.0.1:{await dead_port()}" for _ in range(2)]
        pool = {"targets": [*dead, f"tcp://localhost:{port}"], "retries": 2}
        async with serve(streams([{"forward_to": "upstream://pool"}], upstreams={"pool": pool})) as server:
            assert await ask(server, b"x" * 300_000) == b"x" * 300_000


async def test_a_target_that_cannot_be_reached_resets_the_client_and_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = await dead_port()
    async with serve(one_stream(f"tcp://127.0.0.1:{port}")) as server:
        with pytest.raises(ConnectionResetError):
            await ask(server)
    assert f"no target of tcp://127.0.0.1:{port} can be reached for client 127.0.0.1" in caplog.text
    assert "connection refused" in caplog.text


async def test_a_name_that_does_not_resolve_refuses_connections_only(caplog: pytest.LogCaptureFixture) -> None:
    async with serve(one_stream("tcp://no-such-host.invalid:1")) as server:
        with pytest.raises(ConnectionError):
            await ask(server)
    assert "does not resolve" in caplog.text


async def test_a_target_that_does_not_answer_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = []
        for _ in range(3):  # fills the queue of connections: further ones are not answered
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(full.getsockname())
            waiting.append(one)
        await asyncio.sleep(0.01)
        to = f"tcp://127.0.0.1:{full.getsockname()[1]}"
        async with serve(one_stream(to, connect_timeout="200ms")) as server:
            with pytest.raises(ConnectionError):
                await ask(server)
        for one in waiting:
            one.close()
    assert "within 0.2 s" in caplog.text


async def test_targets_share_the_connections() -> None:
    async with stream_server(named(b"a")) as first, stream_server(named(b"b")) as second:
        pool = {"targets": [f"tcp://127.0.0.1:{first}", f"tcp://127.0.0.1:{second}"]}
        async with serve(streams([{"forward_to": "upstream://pool"}], upstreams={"pool": pool})) as server:
            answers = [await ask(server, b"") for _ in range(4)]
    assert sorted(answers) == [b"a", b"a", b"b", b"b"]


async def test_max_connections_of_a_target_sends_others_elsewhere() -> None:
    async with stream_server(named(b"a")) as first, stream_server(named(b"b")) as second:
        targets = [{"uri": f"tcp://127.0.0.1:{first}", "max_connections": 1}, f"tcp://127.0.0.1:{second}"]
        rules = [{"forward_to": "upstream://pool"}]
        async with serve(streams(rules, upstreams={"pool": {"targets": targets}})) as server:
            async with connect(server) as (one, _), connect(server) as (two, _), connect(server) as (three, _):
                assert sorted([await one.read(1), await two.read(1), await three.read(1)]) == [b"a", b"b", b"b"]


# ── the relay as a whole ──


async def test_half_closes_pass_through_and_the_line_in_the_log(tmp_path: Path) -> None:
    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"%d bytes" % len(await reader.read()))

    async with stream_server(count) as port:
        log = tmp_path / "access.log"
        config = {**one_stream(f"tcp://127.0.0.1:{port}"), "logging": {"format": "json"}}
        async with serve(config, access_log=str(log)) as server:
            assert await ask(server, b"x" * 123_456) == b"123456 bytes"
    line = log.read_text()
    for part in (f"tcp://127.0.0.1:{port}", '"kind":"tcp"', '"received_bytes":123456', '"sent_bytes":12', "closed by"):
        assert part in line.replace('": ', '":'), line


async def test_silence_ends_a_connection() -> None:
    async with stream_server(echo) as port:
        async with serve(one_stream(f"tcp://127.0.0.1:{port}", timeout="300ms")) as server:
            async with connect(server) as (reader, writer):
                writer.write(b"hello")
                assert await reader.readexactly(5) == b"hello"
                assert await reader.read() == b""


async def test_no_more_connections_than_allowed(caplog: pytest.LogCaptureFixture) -> None:
    async with stream_server(named(b"!")) as port:
        async with serve(one_stream(f"tcp://127.0.0.1:{port}", max_connections=2)) as server:
            async with connect(server) as (one, _), connect(server) as (two, two_writer):
                assert await one.read(1) + await two.read(1) == b"!!"
                assert await refused(server)
                two_writer.close()
                assert await two.read() == b""
                while await refused(server, b""):  # until the end of the second has been noticed
                    await asyncio.sleep(0.01)
    assert "max_connections" in caplog.text


@pytest.mark.parametrize(
    ("rule", "decided_by"),
    [
        ({"allow": "127.0.0.0/8"}, ""),
        ({"allow": ["10.0.0.0/8", "home"]}, ""),
        ({"allow": "10.0.0.0/8"}, "allow"),
        ({"deny": "home"}, "deny"),
        ({"deny": "10.0.0.0/8"}, ""),
        ({"allow": "home", "deny": "127.0.0.1"}, "deny"),
    ],
)
async def test_networks_let_in(rule: dict[str, Any], decided_by: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "npserver.forward")
    async with stream_server(echo) as port:
        one = streams([{"forward_to": f"tcp://127.0.0.1:{port}", **rule}], networks={"home": ["127.0.0.0/8"]})
        async with serve(one) as server:
            assert await refused(server) is bool(decided_by)
    lines = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert lines == [f"client 127.0.0.1 refused (dispatch[0].{decided_by})"] * bool(decided_by)


async def test_established_connections_live_through_a_reload() -> None:
    async with stream_server(named(b"old ")) as old, stream_server(named(b"new ")) as new:
        one = one_stream(f"tcp://127.0.0.1:{old}")
        async with serve(one) as server:
            one["listen"][0]["uri"] = f"tcp://127.0.0.1:{server.addresses['in'].port}"
        async with serve(one) as server:
            async with connect(server) as (reader, writer):
                assert await reader.readexactly(4) == b"old "
                await server.reload({**one, "dispatch": one_stream(f"tcp://127.0.0.1:{new}")["dispatch"]})
                assert await ask(server) == b"new hello"
                writer.write(b"still here")
                assert await reader.readexactly(10) == b"still here"


# ── PROXY protocol and TLS ──


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_the_target_is_told_who_the_client_is(version: str) -> None:
    async with stream_server(echo) as port:
        async with serve(one_stream(f"tcp://127.0.0.1:{port}", send_proxy=version)) as server:
            async with connect(server) as (reader, writer):
                own = writer.get_extra_info("sockname")
                listening = server.addresses["in"].port
                writer.write(b"hello")
                if version == "v1":
                    expected = b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n" % (own[1], listening)
                else:
                    addresses = socket.inet_aton("127.0.0.1") * 2 + struct.pack("!HH", own[1], listening)
                    expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + addresses
                assert await reader.readexactly(len(expected) + 5) == expected + b"hello"


async def test_a_client_behind_a_proxy_is_judged_by_its_own_address(tmp_path: Path) -> None:
    async with stream_server(echo) as port:
        rules = [{"forward_to": f"tcp://127.0.0.1:{port}", "allow": "192.0.2.0/24", "send_proxy": "v1"}]
        one = streams(rules, listener={"accept_proxy": "127.0.0.1"})
        log = tmp_path / "access.log"
        async with serve(one, access_log=str(log)) as server:
            header = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n"
            assert await ask(server, header + b"hello") == header + b"hello"
            assert await refused(server, b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 443\r\nhello")
            assert await refused(server, b"hello without a header")
    assert "192.0.2.7:4711" in log.read_text()


async def test_names_are_told_apart_behind_a_proxy_too(certificates: Callable[..., Any]) -> None:
    async with stream_server(named(b"far ")) as far, stream_server(named(b"near ")) as near:
        rules = [
            {"forward_to": f"tcp://127.0.0.1:{far}", "from": "192.0.2.0/24"},
            {"forward_to": f"tcp://127.0.0.1:{near}"},
        ]
        async with serve(streams(rules, listener={"accept_proxy": "127.0.0.1"})) as server:
            assert await ask(server, b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\nhello") == b"far hello"
            assert await ask(server, b"PROXY TCP4 127.0.0.1 192.0.2.1 1 2\r\nhello") == b"near hello"


@needs_localhost
async def test_tls_ends_here_and_begins_here_and_half_closes_pass(certificates: Callable[..., Any]) -> None:
    """RFC 8446 §6.1: closing the write side leaves the read side open."""
    certificate = certificates("localhost", "127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.cert, certificate.key)
    async with stream_server(named(b"secure "), ssl=context) as secure:
        rules = [{"forward_to": f"ssl://localhost:{secure}", "tls": {"ca": str(certificate.ca)}}]
        listener = {"uri": "ssl://127.0.0.1:0", "tls": certificate.config}
        async with serve(streams(rules, listener=listener)) as server:
            async with connect(server, ssl=certificate.client(), server_hostname="localhost") as (reader, writer):
                writer.write(b"x" * 200_000)
                assert await reader.readexactly(200_007) == b"secure " + b"x" * 200_000


@needs_localhost
async def test_a_target_with_the_wrong_certificate_is_not_used(
    certificates: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    certificate = certificates("elsewhere.example")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.cert, certificate.key)
    async with stream_server(echo, ssl=context) as port:
        rule = one_stream(f"ssl://localhost:{port}", tls={"ca": str(certificate.ca)})
        async with serve(rule) as server:
            assert await refused(server)
    assert "certificate" in caplog.text
