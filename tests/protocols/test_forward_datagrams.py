"""Forwards with datagrams on a side or both, the whole server in this process: sessions, framings, refusals, floods."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.protocols.forwarding import DEADLINE_S, connect, echo, serve, stream_server, until

Answer = Callable[[bytes], bytes | None]


class Udp:
    """A UDP socket of the tests."""

    def __init__(self, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.bind(address)
        self.port = int(self.sock.getsockname()[1])

    def to(self, port: int, host: str = "127.0.0.1") -> Udp:
        self.sock.connect((host, port))
        return self

    def send(self, data: bytes) -> None:
        self.sock.send(data)

    async def receive(self) -> bytes:
        loop = asyncio.get_running_loop()
        return await asyncio.wait_for(loop.sock_recv(self.sock, 65536), DEADLINE_S)

    async def receive_from(self) -> tuple[bytes, Any]:
        loop = asyncio.get_running_loop()
        return await asyncio.wait_for(loop.sock_recvfrom(self.sock, 65536), DEADLINE_S)

    def close(self) -> None:
        self.sock.close()


@contextmanager
def udp(*args: Any) -> Iterator[Udp]:
    one = Udp(*args)
    try:
        yield one
    finally:
        one.close()


@contextmanager
def udp_server(answer: Answer = lambda data: data) -> Iterator[tuple[int, list[tuple[bytes, Any]]]]:
    """Answers datagrams; gives its port and what it has received from whom."""
    loop = asyncio.get_running_loop()
    received: list[tuple[bytes, Any]] = []
    with udp() as one:

        def read() -> None:
            data, client = one.sock.recvfrom(65536)
            received.append((data, client))
            if (reply := answer(data)) is not None:
                one.sock.sendto(reply, client)

        loop.add_reader(one.sock, read)
        try:
            yield one.port, received
        finally:
            loop.remove_reader(one.sock)


def config(listen: str, to: str, **rule: Any) -> dict[str, Any]:
    more = {key: rule.pop(key) for key in ("upstreams", "limits") if key in rule}
    listener = {"name": "in", "uri": listen, **rule.pop("listener", {})}
    return {
        "listen": [listener],
        "dispatch": [{"listener": "in", "handler": "forward", "forward_to": to, **rule}],
        **more,
    }


def port_of(server: Any) -> int:
    return int(server.addresses["in"].port)


async def dead_port() -> int:
    with udp() as one:
        return one.port


# ── datagrams to datagrams ──


async def test_each_client_has_a_socket_of_its_own_and_keeps_it() -> None:
    with udp_server(lambda data: b"re: " + data) as (port, received), udp() as one, udp() as two:
        async with serve(config("udp://127.0.0.1:0", f"udp://127.0.0.1:{port}")) as server:
            for client in (one, two):
                client.to(port_of(server))
            for number in range(3):
                for client in (one, two):
                    client.send(b"%d from %d" % (number, client.port))
                    assert await client.receive() == b"re: %d from %d" % (number, client.port)
        assert len({client for _, client in received}) == 2


@pytest.mark.parametrize("size", [0, 1, 1500, 9000, 65_507])
async def test_every_size_of_datagram_passes_both_ways(size: int) -> None:
    with udp_server() as (port, _), udp() as client:
        async with serve(config("udp://127.0.0.1:0", f"udp://127.0.0.1:{port}")) as server:
            client.to(port_of(server)).send(b"x" * size)
            assert await client.receive() == b"x" * size


@pytest.mark.parametrize("listen", ["udp://:0", "udp://0.0.0.0:0"])
async def test_the_answer_comes_from_the_address_that_was_asked(listen: str) -> None:
    """RFC 1122 §4.1.3.5, on a socket bound to all addresses."""
    with udp_server() as (port, _), udp() as client:
        async with serve(config(listen, f"udp://127.0.0.1:{port}")) as server:
            for host in ("127.0.0.1", "127.0.0.2", "127.1.2.3"):
                client.sock.sendto(b"hello", (host, port_of(server)))
                assert await client.receive_from() == (b"hello", (host, port_of(server)))


async def test_ipv6_clients_and_the_address_they_asked() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with udp_server() as (port, _), udp(("::1", 0)) as client:
        async with serve(config("udp://:0", f"udp://127.0.0.1:{port}")) as server:
            client.sock.sendto(b"hello", ("::1", port_of(server)))
            data, sender = await client.receive_from()
            assert (data, sender[:2]) == (b"hello", ("::1", port_of(server)))


async def test_clients_of_a_dual_stack_socket_are_shown_as_ipv4(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with udp_server() as (port, _), udp() as client:
        rule = config("udp://:0", f"udp://127.0.0.1:{port}", allow="127.0.0.0/8")
        async with serve(rule, access_log=str(log)) as server:
            client.to(port_of(server)).send(b"hello")
            assert await client.receive() == b"hello"
    line = log.read_text()
    assert f"127.0.0.1:{client.port}" in line
    assert "::ffff" not in line
    assert "shutdown" in line


async def test_the_first_datagrams_arrive_in_order_while_a_name_is_looked_up() -> None:
    with udp_server(lambda _: None) as (port, received), udp() as client:
        async with serve(config("udp://127.0.0.1:0", f"udp://localhost:{port}")) as server:
            client.to(port_of(server))
            for number in range(40):
                client.send(b"%d" % number)
            await until(lambda: len(received) == 40)
    assert [data for data, _ in received] == [b"%d" % number for number in range(40)]


async def test_silence_ends_a_session_and_the_log_has_its_line(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with udp_server() as (port, received), udp() as client:
        rule = config("udp://127.0.0.1:0", f"udp://127.0.0.1:{port}", timeout="250ms")
        async with serve(rule, access_log=str(log)) as server:
            client.to(port_of(server)).send(b"hello")
            assert await client.receive() == b"hello"
            await until(lambda: "timeout" in log.read_text())
            client.send(b"again")
            assert await client.receive() == b"again"
        assert len({sender for _, sender in received}) == 2
    first = log.read_text().splitlines()[0]
    for part in (f"127.0.0.1:{client.port}", f"udp://127.0.0.1:{port}", "5 B in", "5 B out"):
        assert part in first


async def test_answers_keep_a_session_as_questions_do() -> None:
    with udp() as target, udp() as client:
        rule = config("udp://127.0.0.1:0", f"udp://127.0.0.1:{target.port}", timeout="400ms")
        async with serve(rule) as server:
            client.to(port_of(server)).send(b"subscribe")
            _, session = await target.receive_from()
            for number in range(6):
                await asyncio.sleep(0.09)
                target.sock.sendto(b"%d" % number, session)
                assert await client.receive() == b"%d" % number


async def test_the_idlest_session_makes_room() -> None:
    with udp_server() as (port, received):
        async with serve(config("udp://127.0.0.1:0", f"udp://127.0.0.1:{port}", max_connections=3)) as server:
            clients = [Udp().to(port_of(server)) for _ in range(4)]

            async def say(which: int) -> Any:
                clients[which].send(b"%d" % which)
                assert await clients[which].receive() == b"%d" % which
                return received[-1][1]

            before = [await say(which) for which in (0, 1, 2)]
            assert await say(0) == before[0]  # now 1 is the idlest
            await say(3)
            assert await say(0) == before[0]
            assert await say(2) == before[2]
            assert await say(1) != before[1]
            for client in clients:
                client.close()


async def test_a_flood_of_source_ports_holds_a_bounded_number_of_descriptors() -> None:
    with udp_server(lambda _: None) as (port, received):
        async with serve(config("udp://127.0.0.1:0", f"udp://127.0.0.1:{port}", max_connections=50)) as server:
            before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
            for number in range(1000):
                with udp() as client:
                    client.to(port_of(server)).send(b"%d" % number)
                if number % 20 == 19:
                    await until(lambda: len(received) >= number + 1)  # noqa: B023 - awaited in this round
            if before:
                assert len(list(Path("/proc/self/fd").iterdir())) <= before + 50
            with udp() as client:
                client.to(port_of(server)).send(b"still served")
                await until(lambda: received[-1][0] == b"still served")


async def test_a_refusal_by_icmp_does_not_end_the_session() -> None:
    port = await dead_port()
    with udp() as client:
        async with serve(config("udp://127.0.0.1:0", f"udp://127.0.0.1:{port}")) as server:
            client.to(port_of(server)).send(b"lost")
            await asyncio.sleep(0.01)
            with udp(("127.0.0.1", port)) as target:
                client.send(b"hello")
                data, session = await target.receive_from()
                assert data == b"hello"
                target.sock.sendto(b"back", session)
                assert await client.receive() == b"back"


async def test_a_refusal_by_icmp_sends_the_client_to_the_next_target() -> None:
    with udp_server() as (port, _), udp() as client:
        pool = {"targets": [f"udp://127.0.0.1:{await dead_port()}", {"uri": f"udp://127.0.0.1:{port}", "backup": True}]}
        rule = config("udp://127.0.0.1:0", "upstream://pool", upstreams={"pool": pool})
        async with serve(rule) as server:
            client.to(port_of(server)).send(b"refused")
            await asyncio.sleep(0.01)
            client.send(b"hello")
            assert await client.receive() == b"hello"


@pytest.mark.parametrize("balance", ["round-robin", "least-conn"])
async def test_clients_are_shared_between_targets(balance: str) -> None:
    with udp_server(lambda _: b"a") as (first, _), udp_server(lambda _: b"b") as (second, _):
        pool = {"targets": [f"udp://127.0.0.1:{first}", f"udp://127.0.0.1:{second}"], "balance": balance}
        rule = config("udp://127.0.0.1:0", "upstream://pool", upstreams={"pool": pool})
        async with serve(rule) as server:
            answers = []
            clients = [Udp().to(port_of(server)) for _ in range(4)]
            for client in clients:
                client.send(b"?")
                answers.append(await client.receive())
                client.send(b"?")
                assert await client.receive() == answers[-1]
                client.close()
    assert sorted(answers) == [b"a", b"a", b"b", b"b"]


async def test_sessions_live_through_a_reload() -> None:
    with udp_server(lambda _: b"old") as (old, _), udp_server(lambda _: b"new") as (new, _), udp() as one, udp() as two:
        rule = config("udp://127.0.0.1:0", f"udp://127.0.0.1:{old}")
        async with serve(rule) as server:
            rule["listen"][0]["uri"] = f"udp://127.0.0.1:{port_of(server)}"
        async with serve(rule) as server:
            one.to(port_of(server)).send(b"?")
            assert await one.receive() == b"old"
            rule["dispatch"][0]["forward_to"] = f"udp://127.0.0.1:{new}"
            await server.reload(rule)
            one.send(b"?")
            assert await one.receive() == b"old"
            two.to(port_of(server)).send(b"?")
            assert await two.receive() == b"new"


async def test_clients_by_network_and_those_not_let_in() -> None:
    with udp_server(lambda _: b"lan") as (lan, _), udp_server(lambda _: b"other") as (other, _):
        rule = config("udp://127.0.0.1:0", f"udp://127.0.0.1:{other}", deny="127.0.0.3")
        rule["dispatch"].append({**rule["dispatch"][0], "forward_to": f"udp://127.0.0.1:{lan}", "from": "127.0.0.2"})
        rule["dispatch"].reverse()
        async with serve(rule) as server:
            for host, answer in (("127.0.0.2", b"lan"), ("127.0.0.1", b"other")):
                with udp((host, 0)) as client:
                    client.to(port_of(server)).send(b"?")
                    assert await client.receive() == answer
            with udp(("127.0.0.3", 0)) as client:
                client.to(port_of(server)).send(b"?")
                with udp() as other_client:  # by its answer the other would have had his
                    other_client.to(port_of(server)).send(b"?")
                    assert await other_client.receive() == b"other"
                with pytest.raises(BlockingIOError):
                    client.sock.recv(100)


async def test_unix_datagram_sockets(socket_dir: Path) -> None:
    target = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    mute = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)  # without a name: cannot be answered
    loop = asyncio.get_running_loop()
    for one in (target, client, mute):
        one.setblocking(False)
    target.bind(str(socket_dir / "target"))
    client.bind(str(socket_dir / "client"))
    async with serve(config(f"unixgram://{socket_dir}/in", f"unixgram://{socket_dir}/target")):
        for one in (client, mute):
            one.connect(str(socket_dir / "in"))
            one.send(b"hello")
            data, session = await loop.sock_recvfrom(target, 100)
            assert data == b"hello"
            target.sendto(b"back", session)
        assert await loop.sock_recv(client, 100) == b"back"
    for one in (target, client, mute):
        one.close()


async def test_proxy_headers_of_datagrams_in_and_out() -> None:
    """PROXY protocol §2.2, each datagram with a header of version 2."""
    with udp_server() as (port, received), udp() as client:
        rule = config(
            "udp://127.0.0.1:0", f"udp://127.0.0.1:{port}", send_proxy="v2", listener={"accept_proxy": "127.0.0.1"}
        )
        async with serve(rule) as server:
            addresses = socket.inet_aton("192.0.2.7") + socket.inet_aton("192.0.2.1") + struct.pack("!HH", 4711, 53)
            header = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c" + addresses
            client.to(port_of(server)).send(b"without a header")
            client.send(header + b"hello")
            answer = await client.receive()
    assert answer == received[0][0]
    assert len(received) == 1
    start, family = answer[:14], answer[16:20]
    assert start == header[:14]
    assert family == socket.inet_aton("192.0.2.7")
    assert struct.unpack("!H", answer[24:26]) == (4711,)
    assert answer[28:] == b"hello"


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
        rule = config("tcp://127.0.0.1:0", f"udp://127.0.0.1:{port}", mode="datagram", framing=framing)
        async with serve(rule) as server, connect(server) as (reader, writer):
            writer.write(wire)
            writer.write_eof()
            assert await reader.readexactly(len(answers)) == answers
    assert [data for data, _ in received] == datagrams


async def test_messages_cut_anywhere_stay_whole() -> None:
    with udp_server(lambda _: None) as (port, received):
        rule = config("tcp://127.0.0.1:0", f"udp://127.0.0.1:{port}", mode="datagram", framing="length16")
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
        rule = config(
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
        rule = config("tcp://127.0.0.1:0", f"udp://127.0.0.1:{port}", mode="datagram", framing="length16")
        rule["dispatch"].append({**rule["dispatch"][0], "forward_to": f"udp://127.0.0.1:{sink}", "from": "127.0.0.2"})
        async with serve(rule) as server:
            flooding = connect(server, local_addr=("127.0.0.2", 0))
            async with flooding as (_, flood), connect(server) as (reader, writer):
                flood.write(b"\0\0" * 200_000)
                writer.write(b"\0\5other")
                assert await reader.readexactly(7) == b"\0\5other"


async def test_after_its_end_a_silent_client_is_not_waited_for() -> None:
    with udp_server(lambda _: None) as (port, received):
        async with serve(config("tcp://127.0.0.1:0", f"udp://127.0.0.1:{port}", timeout="200ms")) as server:
            async with connect(server) as (reader, writer):
                writer.write(b"fire and forget")
                writer.write_eof()
                assert await reader.read() == b""
    assert [data for data, _ in received] == [b"fire and forget"]


async def test_a_datagram_target_by_name_gets_all_that_came_before_it_was_found() -> None:
    with udp_server() as (port, _):
        rule = config("tcp://127.0.0.1:0", f"udp://localhost:{port}", mode="datagram", framing="line")
        async with serve(rule) as server, connect(server) as (reader, writer):
            writer.write(b"one\ntwo\n")
            assert await reader.readexactly(8) == b"one\ntwo\n"


async def test_a_datagram_target_that_cannot_be_had_ends_the_connection(
    socket_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(config("tcp://127.0.0.1:0", f"unixgram://{socket_dir}/none")) as server:
        async with connect(server) as (reader, _):
            with suppress(ConnectionError):
                assert await reader.read() == b""
    assert "no target" in caplog.text


# ── datagrams to streams ──


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
        rule = config("udp://127.0.0.1:0", f"tcp://127.0.0.1:{port}", mode="datagram", framing=framing)
        with udp() as client:
            async with serve(rule) as server:
                client.to(port_of(server))
                for data in sent:
                    client.send(data)
                assert [await client.receive() for _ in answers] == answers


async def test_datagrams_wait_in_order_for_a_stream_that_is_slow_to_connect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from npserver.serve import forward_links

    gate = asyncio.Event()
    real_dial = forward_links.dial

    async def slow_dial(*args: Any, **options: Any) -> Any:
        await gate.wait()
        return await real_dial(*args, **options)

    monkeypatch.setattr(forward_links, "dial", slow_dial)
    received = bytearray()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            received.extend(data)

    async with stream_server(answer) as port:
        with udp() as client:
            async with serve(config("udp://127.0.0.1:0", f"tcp://127.0.0.1:{port}")) as server:
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
            async with serve(config("udp://127.0.0.1:0", f"tcp://127.0.0.1:{port}")) as server:
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
        rule = config("udp://127.0.0.1:0", f"tcp://127.0.0.1:{port}", mode="datagram", framing="length32")
        with udp() as client:
            async with serve(rule) as server:
                client.to(port_of(server)).send(b"?")
                await until(lambda: "max_message_size" in caplog.text)


async def test_a_stream_that_takes_nothing_loses_datagrams_not_memory() -> None:
    async def stuck(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with stream_server(stuck) as port:
        rule = config("udp://127.0.0.1:0", f"tcp://127.0.0.1:{port}", buffer_size="100k")
        with udp() as client:
            async with serve(rule) as server:
                client.to(port_of(server))
                for _ in range(400):
                    with suppress(BlockingIOError):
                        client.send(b"x" * 60_000)
                    await asyncio.sleep(0)
                (table,) = (server._single.plane.context.carried[("forward sessions", "udp://127.0.0.1:0")],)
                (session,) = table.sessions.values()
                assert session.link._transport.get_write_buffer_size() < 200_000


async def test_no_target_for_a_datagram_is_said_and_the_next_one_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as once:
        port = once.getsockname()[1]
    with udp() as client:
        async with serve(config("udp://127.0.0.1:0", f"tcp://127.0.0.1:{port}")) as server:
            client.to(port_of(server)).send(b"lost")
            await until(lambda: "no target" in caplog.text)
            async with stream_server(echo, port=port):
                client.send(b"hello")
                assert await client.receive() == b"hello"
