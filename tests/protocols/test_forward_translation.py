"""Forwards between streams and datagrams, both ways: framings, what is too long, too much or too early.

Covers `forward.messages`.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from npserver.forward.datagrams import SESSION_TABLES
from tests.protocols.forwarding import (
    DEADLINE_S,
    connect,
    dead_port,
    echo,
    localhost,
    one_forward,
    port_of,
    serve,
    stream_server,
    udp,
    udp_server,
    until,
)
from tests.stage.programs import needs_localhost

# ── streams to datagrams ──


@pytest.mark.parametrize(
    ("framing", "wire", "datagrams", "answers"),
    [
        ("raw", b"counter:1|c", [b"counter:1|c"], b"re counter:1|c"),
        ("line", b"a:1|c\nb:2|c\r\n\nlast", [b"a:1|c", b"b:2|c", b"last"], b"re a:1|c\nre b:2|c\nre last\n"),
        ("length16", b"\0\3abc\0\0\0\1d", [b"abc", b"", b"d"], b"\0\6re abc\0\3re \0\4re d"),
        ("length32", b"\0\0\0\3abc", [b"abc"], b"\0\0\0\6re abc"),
    ],
)
async def test_messages_of_a_stream_become_datagrams(
    framing: str, wire: bytes, datagrams: list[bytes], answers: bytes
) -> None:
    with udp_server(lambda data: b"re " + data) as (port, received):
        rule = one_forward("tcp://127.0.0.1:0", f"udp://127.0.0.1:{port}", mode="datagram", framing=framing)
        async with serve(rule) as server, connect(server) as (reader, writer):
            writer.write(wire)
            writer.write_eof()
            assert await reader.readexactly(len(answers)) == answers
    assert [data for data, _ in received] == datagrams


async def test_messages_cut_anywhere_stay_whole() -> None:
    with udp_server(lambda _: None) as (port, received):
        rule = one_forward("tcp://127.0.0.1:0", f"udp://127.0.0.1:{port}", mode="datagram", framing="length16")
        async with serve(rule) as server, connect(server) as (_, writer):
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in b"\0\5hello\0\5world":
                writer.write(bytes([byte]))
                await asyncio.sleep(0.001)
            await until(lambda: len(received) == 2)
    assert [data for data, _ in received] == [b"hello", b"world"]


async def test_a_message_that_is_too_long_ends_the_connection(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with udp_server() as (port, received):
        rule = one_forward(
            "tcp://127.0.0.1:0", f"udp://127.0.0.1:{port}", mode="datagram", framing="line", max_message_size=100
        )
        async with serve(rule, access_log=str(log)) as server, connect(server) as (reader, writer):
            writer.write(b"x" * 200 + b"\n")
            with suppress(ConnectionError):
                assert await reader.read() == b""
    assert received == []
    assert "longer than 100 bytes" in log.read_text()


async def test_a_flood_of_tiny_messages_leaves_room_for_others() -> None:
    with udp_server() as (port, _), udp_server(lambda _: None) as (sink, _):
        rule = one_forward("tcp://127.0.0.1:0", f"udp://127.0.0.1:{port}", mode="datagram", framing="length16")
        rule["dispatch"].append({**rule["dispatch"][0], "forward_to": f"udp://127.0.0.1:{sink}", "from": "127.0.0.2"})
        async with serve(rule) as server:
            flooding = connect(server, local_addr=("127.0.0.2", 0))
            async with flooding as (_, flood), connect(server) as (reader, writer):
                flood.write(b"\0\0" * 200_000)
                writer.write(b"\0\5other")
                assert await reader.readexactly(7) == b"\0\5other"


async def test_after_its_end_a_silent_client_is_not_waited_for() -> None:
    with udp_server(lambda _: None) as (port, received):
        async with serve(one_forward("tcp://127.0.0.1:0", f"udp://127.0.0.1:{port}", timeout="200ms")) as server:
            async with connect(server) as (reader, writer):
                writer.write(b"fire and forget")
                writer.write_eof()
                assert await reader.read() == b""
    assert [data for data, _ in received] == [b"fire and forget"]


@needs_localhost
async def test_a_datagram_target_by_name_gets_all_that_came_before_it_was_found() -> None:
    with udp_server(host=localhost()) as (port, _):
        rule = one_forward("tcp://127.0.0.1:0", f"udp://localhost:{port}", mode="datagram", framing="line")
        async with serve(rule) as server, connect(server) as (reader, writer):
            writer.write(b"one\ntwo\n")
            assert await reader.readexactly(8) == b"one\ntwo\n"


async def test_a_datagram_target_that_cannot_be_had_ends_the_connection(
    socket_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(one_forward("tcp://127.0.0.1:0", f"unixgram://{socket_dir}/none")) as server:
        async with connect(server) as (reader, _):
            with suppress(ConnectionError):
                assert await reader.read() == b""
    assert "no target" in caplog.text


async def _broken(*_: object, **__: object) -> None:
    raise RuntimeError("a fault of ours")


async def test_a_stream_gets_answers_again_once_a_refusing_target_is_back() -> None:
    port = await dead_port()
    rule = one_forward("tcp://127.0.0.1:0", f"udp://127.0.0.1:{port}", mode="datagram", framing="line")
    async with serve(rule) as server, connect(server) as (reader, writer):
        for _ in range(3):
            writer.write(b"lost\n")
            await asyncio.sleep(0.02)
        with udp(("127.0.0.1", port)) as target:
            writer.write(b"hello\n")
            data, session = await target.receive_from()
            assert data == b"hello"
            target.sock.sendto(b"back", session)
            assert await asyncio.wait_for(reader.readline(), DEADLINE_S) == b"back\n"


async def test_an_unexpected_error_while_resolving_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("npserver.forward.target_socket.connect", _broken)
    rule = one_forward("tcp://127.0.0.1:0", "udp://name.test:1", mode="datagram", framing="line")
    async with serve(rule) as server, connect(server) as (reader, writer):
        writer.write(b"one\n")
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
    assert "a fault of ours" in caplog.text


# ── datagrams to streams ──


async def test_an_unexpected_error_while_connecting_ends_the_session(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The next datagram begins another session."""
    monkeypatch.setattr("npserver.forward.target_connections.dial", _broken)
    rule = one_forward("udp://127.0.0.1:0", "tcp://127.0.0.1:1", mode="datagram", framing="line")
    with udp() as client:
        async with serve(rule) as server:
            client.to(port_of(server))
            for number in (1, 2):
                client.send(b"one")
                await until(lambda: caplog.text.count("error in forwarding datagrams") >= number)  # noqa: B023
            assert caplog.text.count("error in forwarding datagrams") == 2


@pytest.mark.parametrize(
    ("framing", "sent", "wire", "reply", "answers"),
    [
        ("line", [b"a:1|c", b"b:2|c\n"], b"a:1|c\nb:2|c\n", b"x\r\ny\n", [b"x", b"y"]),
        ("length16", [b"abc", b"", b"d"], b"\0\3abc\0\0\0\1d", b"\0\1x\0\0\0\2yz", [b"x", b"", b"yz"]),
        ("length32", [b"abc"], b"\0\0\0\3abc", b"\0\0\0\1x", [b"x"]),
        ("raw", [b"abc", b"def"], b"abcdef", b"one read", [b"one read"]),
    ],
)
async def test_datagrams_become_messages_of_a_stream(
    framing: str, sent: list[bytes], wire: bytes, reply: bytes, answers: list[bytes]
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(len(wire)) == wire
        writer.write(reply)
        await reader.read()

    async with stream_server(answer) as port:
        rule = one_forward("udp://127.0.0.1:0", f"tcp://127.0.0.1:{port}", mode="datagram", framing=framing)
        with udp() as client:
            async with serve(rule) as server:
                client.to(port_of(server))
                for data in sent:
                    client.send(data)
                assert [await client.receive() for _ in answers] == answers


async def test_datagrams_wait_in_order_for_a_stream_that_is_slow_to_connect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from npserver.forward import target_connections

    gate = asyncio.Event()
    real_dial = target_connections.dial

    async def slow_dial(*args: Any, **options: Any) -> Any:
        await gate.wait()
        return await real_dial(*args, **options)

    monkeypatch.setattr(target_connections, "dial", slow_dial)
    received = bytearray()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            received.extend(data)

    async with stream_server(answer) as port:
        with udp() as client:
            async with serve(one_forward("udp://127.0.0.1:0", f"tcp://127.0.0.1:{port}")) as server:
                client.to(port_of(server)).send(b"x" * 65_507)
                for number in range(100):
                    client.send(b"%03d " % number)
                await asyncio.sleep(0.02)
                gate.set()
                await until(lambda: len(received) == 65_507 + 400)
    assert received[65_507:] == b"".join(b"%03d " % number for number in range(100))


async def test_a_stream_that_ends_is_followed_by_another() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"got " + await reader.read(100))

    async with stream_server(once) as port:
        with udp() as client:
            async with serve(one_forward("udp://127.0.0.1:0", f"tcp://127.0.0.1:{port}")) as server:
                for number in range(3):
                    async with asyncio.timeout(DEADLINE_S):
                        answer = b""
                        while not answer:  # a datagram may fall between the end of one and the start of the next
                            client.to(port_of(server)).send(b"%d" % number)
                            with suppress(TimeoutError):
                                answer = await asyncio.wait_for(client.receive(), 0.05)
                    assert answer == b"got %d" % number


async def test_a_stream_that_sends_nonsense_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"\xff\xff\xff\xffnonsense")
        assert await reader.read() == b""

    async with stream_server(nonsense) as port:
        rule = one_forward("udp://127.0.0.1:0", f"tcp://127.0.0.1:{port}", mode="datagram", framing="length32")
        with udp() as client:
            async with serve(rule) as server:
                client.to(port_of(server)).send(b"?")
                await until(lambda: "max_message_size" in caplog.text)


async def test_a_stream_that_takes_nothing_loses_datagrams_not_memory() -> None:
    async def stuck(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()  # until it is cancelled

    async with stream_server(stuck) as port:
        rule = one_forward("udp://127.0.0.1:0", f"tcp://127.0.0.1:{port}", buffer_size="100k")
        with udp() as client:
            async with serve(rule) as server:
                client.to(port_of(server))
                for _ in range(400):
                    with suppress(BlockingIOError):
                        client.send(b"x" * 60_000)
                    await asyncio.sleep(0)
                table = SESSION_TABLES.of(server._single.data_plane.context)["udp://127.0.0.1:0"]
                (session,) = table.sessions.values()
                assert session.connection._transport.get_write_buffer_size() < 200_000


async def test_no_target_for_a_datagram_is_said_and_the_next_one_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as once:
        port = once.getsockname()[1]
    with udp() as client:
        async with serve(one_forward("udp://127.0.0.1:0", f"tcp://127.0.0.1:{port}")) as server:
            client.to(port_of(server)).send(b"lost")
            await until(lambda: "no target" in caplog.text)
            async with stream_server(echo, port=port):
                client.send(b"hello")
                assert await client.receive() == b"hello"
