"""Forwards of datagrams to datagrams: a session per client, refusals, floods, reloads.

Covers `forward.datagrams`, `forward.session`, `forward.target_socket`, `listen.datagrams` and `net.datagram_link`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.protocols.forwarding import (
    Udp,
    dead_port,
    localhost,
    one_forward,
    port_of,
    receive_from,
    serve,
    udp,
    udp_server,
    until,
)
from tests.stage.programs import needs_localhost


async def test_each_client_has_a_socket_of_its_own_and_keeps_it() -> None:
    with udp_server(lambda data: b"re: " + data) as (port, received), udp() as one, udp() as two:
        async with serve(one_forward("udp://127.0.0.1:0", f"udp://127.0.0.1:{port}")) as server:
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
        async with serve(one_forward("udp://127.0.0.1:0", f"udp://127.0.0.1:{port}")) as server:
            client.to(port_of(server)).send(b"x" * size)
            assert await client.receive() == b"x" * size


@pytest.mark.parametrize("listen", ["udp://:0", "udp://0.0.0.0:0"])
async def test_the_answer_comes_from_the_address_that_was_asked(listen: str) -> None:
    """RFC 1122 §4.1.3.5, on a socket bound to all addresses."""
    with udp_server() as (port, _), udp() as client:
        async with serve(one_forward(listen, f"udp://127.0.0.1:{port}")) as server:
            for host in ("127.0.0.1", "127.0.0.2", "127.1.2.3"):
                client.sock.sendto(b"hello", (host, port_of(server)))
                assert await client.receive_from() == (b"hello", (host, port_of(server)))


async def test_ipv6_clients_and_the_address_they_asked() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with udp_server() as (port, _), udp(("::1", 0)) as client:
        async with serve(one_forward("udp://:0", f"udp://127.0.0.1:{port}")) as server:
            client.sock.sendto(b"hello", ("::1", port_of(server)))
            data, sender = await client.receive_from()
            assert (data, sender[:2]) == (b"hello", ("::1", port_of(server)))


async def test_clients_of_a_dual_stack_socket_are_shown_as_ipv4(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with udp_server() as (port, _), udp() as client:
        rule = one_forward("udp://:0", f"udp://127.0.0.1:{port}", allow="127.0.0.0/8")
        async with serve(rule, access_log=str(log)) as server:
            client.to(port_of(server)).send(b"hello")
            assert await client.receive() == b"hello"
    line = log.read_text()
    assert f"127.0.0.1:{client.port}" in line
    assert "::ffff" not in line
    assert "shutdown" in line


async def test_a_rule_without_a_log_leaves_no_line(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with udp_server() as (port, _), udp() as client:
        rule = one_forward("udp://127.0.0.1:0", f"udp://127.0.0.1:{port}", log=False)
        async with serve(rule, access_log=str(log)) as server:
            client.to(port_of(server)).send(b"hello")
            assert await client.receive() == b"hello"
    assert log.read_text() == ""


@needs_localhost
async def test_the_first_datagrams_arrive_in_order_while_a_name_is_looked_up() -> None:
    with udp_server(lambda _: None, localhost()) as (port, received), udp() as client:
        async with serve(one_forward("udp://127.0.0.1:0", f"udp://localhost:{port}")) as server:
            client.to(port_of(server))
            for number in range(40):
                client.send(b"%d" % number)
            await until(lambda: len(received) == 40)
    assert [data for data, _ in received] == [b"%d" % number for number in range(40)]


async def test_silence_ends_a_session_and_the_log_has_its_line(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with udp_server() as (port, received), udp() as client:
        rule = one_forward("udp://127.0.0.1:0", f"udp://127.0.0.1:{port}", timeout="250ms")
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
        rule = one_forward("udp://127.0.0.1:0", f"udp://127.0.0.1:{target.port}", timeout="400ms")
        async with serve(rule) as server:
            client.to(port_of(server)).send(b"subscribe")
            _, session = await target.receive_from()
            for number in range(6):
                await asyncio.sleep(0.09)
                target.sock.sendto(b"%d" % number, session)
                assert await client.receive() == b"%d" % number


async def test_the_idlest_session_makes_room() -> None:
    with udp_server() as (port, received):
        async with serve(one_forward("udp://127.0.0.1:0", f"udp://127.0.0.1:{port}", max_connections=3)) as server:
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


async def test_a_rule_makes_room_among_its_own_sessions() -> None:
    with udp_server(lambda _: b"near") as (near, _), udp_server(lambda _: b"far") as (far, from_far):
        config = one_forward(
            "udp://127.0.0.1:0", f"udp://127.0.0.1:{near}", **{"from": "127.0.0.1", "max_connections": 1}
        )
        config["dispatch"].append(
            {**config["dispatch"][0], "forward_to": f"udp://127.0.0.1:{far}", "from": "127.0.0.2"}
        )
        async with serve(config) as server:
            with udp(("127.0.0.2", 0)) as other, udp() as first, udp() as second:
                for client in (other, first, second, first, other):  # the other rule's session is the idlest
                    client.to(port_of(server)).send(b"?")
                    await client.receive()
                assert len({client for _, client in from_far}) == 1


async def test_a_flood_of_source_ports_holds_a_bounded_number_of_descriptors() -> None:
    with udp_server(lambda _: None) as (port, received):
        async with serve(one_forward("udp://127.0.0.1:0", f"udp://127.0.0.1:{port}", max_connections=50)) as server:
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


async def test_a_refusal_by_icmp_does_not_end_the_session(caplog: pytest.LogCaptureFixture) -> None:
    port = await dead_port()
    with udp() as client:
        async with serve(one_forward("udp://127.0.0.1:0", f"udp://127.0.0.1:{port}")) as server:
            client.to(port_of(server)).send(b"lost")
            await asyncio.sleep(0.01)
            with udp(("127.0.0.1", port)) as target:
                client.send(b"hello")
                data, session = await target.receive_from()
                assert data == b"hello"
                target.sock.sendto(b"back", session)
                assert await client.receive() == b"back"
    assert caplog.text.count("refuses the datagrams") == 1
    assert f"udp://127.0.0.1:{port}: connection refused" in caplog.text


@pytest.mark.parametrize("targets", [1, 2])
async def test_answers_come_again_once_a_refusing_target_is_back(targets: int) -> None:
    """The client keeps its port, however often the target was away."""
    port = await dead_port()
    pool = {"targets": [f"udp://127.0.0.1:{port}", f"udp://127.0.0.1:{await dead_port()}"][:targets]}
    rule = one_forward("udp://127.0.0.1:0", "upstream://pool", upstreams={"pool": pool})
    with udp() as client:
        async with serve(rule) as server:
            client.to(port_of(server))
            for _ in range(2):
                for _ in range(4):
                    client.send(b"lost")
                    await asyncio.sleep(0.01)
                with udp(("127.0.0.1", port)) as target:
                    answer = asyncio.create_task(client.receive())
                    question = asyncio.create_task(target.receive_from())
                    while not question.done():
                        client.send(b"hello")
                        await asyncio.sleep(0.05)
                    target.sock.sendto(b"back", question.result()[1])
                    assert await answer == b"back"


async def test_a_name_that_does_not_resolve_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with udp() as client:
        async with serve(one_forward("udp://127.0.0.1:0", "udp://no-such-host.invalid:1")) as server:
            client.to(port_of(server)).send(b"lost")
            await until(lambda: "no target of udp://no-such-host.invalid:1 can be reached" in caplog.text)
    line = next(line for line in caplog.text.splitlines() if "no target" in line)
    assert "does not resolve" in line


async def test_a_refusal_by_icmp_sends_the_client_to_the_next_target() -> None:
    with udp_server() as (port, _), udp() as client:
        pool = {"targets": [f"udp://127.0.0.1:{await dead_port()}", {"uri": f"udp://127.0.0.1:{port}", "backup": True}]}
        rule = one_forward("udp://127.0.0.1:0", "upstream://pool", upstreams={"pool": pool})
        async with serve(rule) as server:
            client.to(port_of(server)).send(b"refused")
            await asyncio.sleep(0.01)
            client.send(b"hello")
            assert await client.receive() == b"hello"


@pytest.mark.parametrize("balance", ["round-robin", "least-conn"])
async def test_clients_are_shared_between_targets(balance: str) -> None:
    with udp_server(lambda _: b"a") as (first, _), udp_server(lambda _: b"b") as (second, _):
        pool = {"targets": [f"udp://127.0.0.1:{first}", f"udp://127.0.0.1:{second}"], "balance": balance}
        rule = one_forward("udp://127.0.0.1:0", "upstream://pool", upstreams={"pool": pool})
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
        rule = one_forward("udp://127.0.0.1:0", f"udp://127.0.0.1:{old}")
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


async def test_clients_by_network_and_those_not_let_in(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "npserver.forward")
    with udp_server(lambda _: b"lan") as (lan, _), udp_server(lambda _: b"other") as (other, _):
        rule = one_forward("udp://127.0.0.1:0", f"udp://127.0.0.1:{other}", deny="127.0.0.3")
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
    assert "client 127.0.0.3 refused (dispatch[1].deny)" in caplog.messages


async def test_a_client_that_no_rule_is_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "npserver.forward")
    with udp_server() as (port, _), udp() as client:
        rule = one_forward("udp://127.0.0.1:0", f"udp://127.0.0.1:{port}", **{"from": "192.0.2.0/24"})
        async with serve(rule) as server:
            client.to(port_of(server)).send(b"?")
            await until(lambda: "client 127.0.0.1 refused: no forward rule matches (from)" in caplog.text)


async def test_unix_datagram_sockets_are_forwarded(socket_dir: Path) -> None:
    target = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    mute = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)  # without a name: cannot be answered
    loop = asyncio.get_running_loop()
    for one in (target, client, mute):
        one.setblocking(False)
    target.bind(str(socket_dir / "target"))
    client.bind(str(socket_dir / "client"))
    async with serve(one_forward(f"unixgram://{socket_dir}/in", f"unixgram://{socket_dir}/target")):
        for one in (client, mute):
            one.connect(str(socket_dir / "in"))
            one.send(b"hello")
            data, session = await receive_from(target)
            assert data == b"hello"
            target.sendto(b"back", session)
        assert await loop.sock_recv(client, 100) == b"back"
    for one in (target, client, mute):
        one.close()


async def test_proxy_headers_of_datagrams_in_and_out(caplog: pytest.LogCaptureFixture) -> None:
    """PROXY protocol §2.2, each datagram with a header of version 2."""
    caplog.set_level("DEBUG", "npserver.server")
    with udp_server() as (port, received), udp() as client:
        rule = one_forward(
            "udp://127.0.0.1:0", f"udp://127.0.0.1:{port}", send_proxy="v2", listener={"accept_proxy": "127.0.0.1"}
        )
        async with serve(rule) as server:
            addresses = socket.inet_aton("192.0.2.7") + socket.inet_aton("192.0.2.1") + struct.pack("!HH", 4711, 53)
            header = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c" + addresses
            client.to(port_of(server)).send(b"without a header")
            await until(lambda: "dropped: no PROXY header of version 2 (accept_proxy)" in caplog.text)
            client.send(header + b"hello")
            answer = await client.receive()
    assert answer == received[0][0]
    assert len(received) == 1
    start, family = answer[:14], answer[16:20]
    assert start == header[:14]
    assert family == socket.inet_aton("192.0.2.7")
    assert struct.unpack("!H", answer[24:26]) == (4711,)
    assert answer[28:] == b"hello"
