"""`npserver drain LISTENER` for what is not HTTP/1.1, in the real program.

Covers `listen.drained_sockets`.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.edns
import dns.message
import dns.query
import dns.rcode
import h2.connection
import h2.events
import pytest

from tests.stage.asking import SlowUpstream, refuses
from tests.stage.backends import Backends
from tests.stage.doq import DoqClient, question
from tests.stage.doq import connected as connected_for_dns
from tests.stage.draining import EVERYWHERE, Start, last, serving, start
from tests.stage.http3 import Client, connected


def trusting() -> ssl.SSLContext:
    """Return a context that trusts any server."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class TestHttp2:
    @EVERYWHERE
    def test_streams_end_before_the_connection(
        self, program: Start, free_port: Callable[[], int], slow: SlowUpstream, loop: str, workers: int
    ) -> None:
        port, other = free_port(), free_port()
        config = serving(
            port,
            other,
            workers,
            {"handler": "proxy", "path": "/slow", "proxy_pass": f"http://127.0.0.1:{slow.port}"},
        )
        config["listen"][0]["http2"] = True
        one = start(program, config, loop)
        sock = socket.create_connection(("127.0.0.1", port), 30)
        sock.settimeout(30)
        client = h2.connection.H2Connection()
        client.initiate_connection()
        events: list[Any] = []

        def ask(path: str) -> None:
            fields = [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", path)]
            client.send_headers(client.get_next_available_stream_id(), fields, end_stream=True)
            sock.sendall(client.data_to_send())

        def read_until(kind: type[Any], count: int = 1) -> None:
            while sum(isinstance(event, kind) for event in events) < count:
                data = sock.recv(65_536)
                assert data, events
                events.extend(client.receive_data(data))
                sock.sendall(client.data_to_send())

        with sock:
            ask("/slow")
            slow.take_request()
            with one.begin_command("drain", "web") as draining:
                assert draining.stdout is not None
                assert draining.stdout.readline() == "draining: 1 request or connection left\n"
                ask("/")
                read_until(h2.events.StreamEnded)
                slow.answer(b"at last")
                read_until(h2.events.ConnectionTerminated)
                assert draining.communicate(timeout=30)[0].splitlines()[-1] == "empty"
        bodies = [event.data for event in events if isinstance(event, h2.events.DataReceived)]
        assert bodies == [b"hello", b"at last"]


class TestHttp3:
    @EVERYWHERE
    async def test_streams_end_and_new_connections_are_refused(
        self, program: Start, free_port: Callable[[], int], slow: SlowUpstream, loop: str, workers: int
    ) -> None:
        port, other = free_port(), free_port()
        upstream = f"http://127.0.0.1:{slow.port}"
        config = serving(port, other, workers, {"handler": "proxy", "path": "/slow", "proxy_pass": upstream})
        config["listen"][0] = {"uri": f"https://127.0.0.1:{port}", "http3": True, "tls": "internal"}
        one = start(program, config, loop)
        async with connected(port) as busy, connected(port) as idle:
            await idle.request()
            _, answer = busy.begin(path="/slow")
            slow.take_request()
            assert one.command("drain", "-no-wait", f"https://127.0.0.1:{port}")[0] == 0
            one.wait_until(lambda: refuses(port), "refused clients")
            late = Client(port)
            await late.connect()
            assert late.closed is not None and late.closed.error_code == 2  # CONNECTION_REFUSED
            late.leave()
            late.close()
            await idle.until(lambda: idle.closed is not None)
            assert idle.closed is not None and idle.closed.error_code == 0x100
            slow.answer(b"at last")
            await busy.until(lambda: busy.closed is not None)
            assert answer.body == b"at last"
        assert last(one.command("drain", f"https://127.0.0.1:{port}")) == (0, "empty")
        assert one.command("undrain", f"https://127.0.0.1:{port}")[0] == 0
        async with connected(port) as again:
            assert (await again.request()).body == b"hello"
        with socket.create_connection(("127.0.0.1", port), 30) as sock, trusting().wrap_socket(sock) as secure:
            secure.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert secure.recv(100).startswith(b"HTTP/1.1 200")


class TestForwards:
    @EVERYWHERE
    def test_relays_and_sessions_go_on_until_the_deadline(
        self, program: Start, backends: Backends, free_port: Callable[[], int], loop: str, workers: int
    ) -> None:
        ports = [free_port() for _ in range(3)]
        names = [f"tcp://127.0.0.1:{ports[0]}", f"udp://127.0.0.1:{ports[1]}", f"tcp://127.0.0.1:{ports[2]}"]
        targets = [f"tcp://127.0.0.1:{backends.tcp_echo()}", *[f"udp://127.0.0.1:{backends.udp_echo()}"] * 2]
        rules = [
            {"handler": "forward", "listener": name, "forward_to": target}
            for name, target in zip(names, targets, strict=True)
        ]
        one = start(program, {"workers": workers, "listen": names, "dispatch": rules}, loop)

        def speaks(client: socket.socket) -> bool:
            framing = b"\0\5" if client.type == socket.SOCK_STREAM and client.getpeername()[1] == ports[2] else b""
            client.send(framing + b"hello")
            return client.recv(100) == framing + b"hello"

        def new_session() -> socket.socket:
            client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            client.settimeout(30)
            client.connect(("127.0.0.1", ports[1]))
            return client

        with contextlib.ExitStack() as stack:
            relays = [
                stack.enter_context(socket.create_connection(("127.0.0.1", ports[place]), 30)) for place in (0, 2, 0, 2)
            ]
            sessions = [new_session() for _ in range(6)]
            assert all(speaks(client) for client in relays + sessions)
            for name, count in zip(names, (2, 6, 2), strict=True):
                assert one.command("drain", "-no-wait", name)[0] == 0
                with one.begin_command("drain", name) as draining:
                    assert draining.stdout is not None
                    assert draining.stdout.readline() == f"draining: {count} requests and connections left\n"
                    draining.send_signal(signal.SIGINT)
                assert draining.returncode == 130
            assert refuses(ports[0])
            assert all(speaks(client) for client in relays + sessions)  # those that are open go on
            late = new_session()
            late.send(b"hello")
            assert speaks(sessions[0])
            late.setblocking(False)
            with pytest.raises(BlockingIOError):
                late.recv(100)
            late.settimeout(30)
            for name in names:
                assert last(one.command("drain", "-wait", "0", name)) == (0, "empty")
            assert [client.recv(10) for client in relays[:1]] == [b""]
            for name in names:
                assert one.command("undrain", name)[0] == 0
            assert speaks(late)
            more = stack.enter_context(socket.create_connection(("127.0.0.1", ports[0]), 30))
            assert speaks(more)
        one.wait_for(r"drain of listener udp://127\.0\.0\.1:\d+: \d+ connections ended \(-wait has passed\)")


class TestDns:
    @EVERYWHERE
    def test_queries_fail_so_that_clients_ask_another_server(
        self, program: Start, free_port: Callable[[], int], loop: str, workers: int
    ) -> None:
        port = free_port()
        one = start(
            program,
            {
                "workers": workers,
                "listen": [f"udp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port}"],
                "dispatch": [{"handler": "dns"}],
                "dns": {"www.home": {"A": "192.0.2.1"}},
            },
            loop,
        )

        def ask(**more: Any) -> dns.message.Message:
            return dns.query.udp(dns.message.make_query("www.home", "A", **more), "127.0.0.1", port=port, timeout=20)

        for _ in range(40):  # until the answer is cached
            assert ask().rcode() == dns.rcode.NOERROR
        stream = socket.create_connection(("127.0.0.1", port), 30)
        with stream:
            query = dns.message.make_query("www.home", "A")
            dns.query.send_tcp(stream, query)
            assert last(one.command("drain", f"127.0.0.1:{port}")) == (0, "empty")  # both
            answer, _ = dns.query.receive_tcp(stream)
            assert answer.rcode() == dns.rcode.NOERROR
            assert stream.recv(10) == b""
        assert refuses(port)
        for _ in range(4):
            assert ask().rcode() == dns.rcode.SERVFAIL
        told = ask(use_edns=0)
        assert [(option.code, option.text) for option in told.extended_errors()] == [
            (dns.edns.EDECode.NOT_READY, "drained")
        ]
        assert one.command("undrain", f"udp://127.0.0.1:{port}")[0] == 0
        one.wait_until(lambda: all(ask().rcode() == dns.rcode.NOERROR for _ in range(8)), "answers")
        assert refuses(port)
        assert one.command("undrain", f"tcp://127.0.0.1:{port}")[0] == 0
        assert dns.query.tcp(query, "127.0.0.1", port=port, timeout=20).rcode() == dns.rcode.NOERROR

    @EVERYWHERE
    async def test_over_quic(self, program: Start, free_port: Callable[[], int], loop: str, workers: int) -> None:
        port, name = free_port(), "www.home"
        uri = f"quic://127.0.0.1:{port}"
        config = {
            "workers": workers,
            "listen": [uri],
            "tls": "internal",
            "dispatch": [{"handler": "dns"}],
            "dns": {name: {"A": "192.0.2.1"}},
        }
        one = start(program, config, loop)
        async with connected_for_dns(port) as idle:
            assert (await idle.answered(question(name))).answer
            assert last(await asyncio.to_thread(one.command, "drain", uri)) == (0, "empty")
            assert await idle.until_closed() == 0
        late = DoqClient(port)
        await late.connect()
        assert await late.until_closed() == 2  # CONNECTION_REFUSED
        late.leave()
        late.close()
        assert one.command("undrain", uri)[0] == 0
        async with connected_for_dns(port) as again:
            assert (await again.answered(question(name))).answer


class TestRanges:
    @EVERYWHERE
    def test_a_range_is_drained_as_a_whole_or_one_port_of_it(
        self, program: Start, backends: Backends, free_port: Callable[[], int], loop: str, workers: int
    ) -> None:
        ports, target = [free_port()], backends.tcp_echo()
        while len(ports) < 3:
            port = free_port()
            ports = [*ports, port] if port == ports[-1] + 1 else [port]
        uri = f"tcp://127.0.0.1:{ports[0]}-{ports[-1]}"
        rule = {"handler": "forward", "forward_to": f"tcp://127.0.0.1:{target}"}
        config = {"workers": workers, "listen": [uri], "dispatch": [rule]}
        one = program(config=config, env={"NPSERVER_LOOP": loop}, listens=[])
        one.wait_for("npserver 1")
        assert last(one.command("drain", f"tcp://127.0.0.1:{ports[1]}")) == (0, "empty")
        assert [refuses(port) for port in ports] == [False, True, False]
        assert last(one.command("drain", uri)) == (0, "empty")
        assert [refuses(port) for port in ports] == [True] * 3
        assert one.errors.count(" is drained and empty") == 2
        assert one.command("undrain", uri)[0] == 0
        assert [refuses(port) for port in ports] == [False] * 3
        one.wait_until(lambda: one.output.count("closed by client") == 5, "the ends of the connections")


class TestProxyHeaders:
    @EVERYWHERE
    def test_a_reload_may_ask_for_them_while_it_is_drained(
        self, program: Start, free_port: Callable[[], int], loop: str, workers: int
    ) -> None:
        port, other = free_port(), free_port()
        config = serving(port, other, workers)
        one = start(program, config, loop)
        assert last(one.command("drain", "web")) == (0, "empty")
        config["listen"][0]["accept_proxy"] = "127.0.0.1"
        one.configure(config)
        assert one.command("reload")[0] == 0
        assert refuses(port)
        assert one.command("undrain", "web")[0] == 0
        with socket.create_connection(("127.0.0.1", port), 30) as client:
            client.sendall(b"PROXY TCP4 192.0.2.9 127.0.0.1 1 2\r\nGET / HTTP/1.0\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")


class TestUnixSockets:
    @EVERYWHERE
    def test_the_file_is_hidden(self, program: Start, socket_dir: Path, loop: str, workers: int) -> None:
        path, uri = socket_dir / "web.sock", f"unix://{socket_dir / 'web.sock'}"
        config = {"workers": workers, "listen": [{"uri": uri, "mode": "0600"}], "dispatch": [{"handler": "respond"}]}
        one = start(program, config, loop)

        def connects() -> bool:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(30)
                client.connect(str(path))
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return client.recv(100).startswith(b"HTTP/1.1 200")

        assert connects()
        assert last(one.command("drain", uri)) == (0, "empty")
        with pytest.raises(FileNotFoundError):
            connects()
        config["listen"] = [{"uri": uri, "mode": "0660"}]
        one.configure(config)
        assert one.command("reload")[0] == 0
        path.touch()
        assert one.command("undrain", uri)[0] == 1
        path.unlink()
        assert one.command("undrain", uri)[0] == 0
        assert connects()
        assert path.stat().st_mode & 0o777 == 0o660
        assert one.command("drain", uri)[0] == 0
        one.stop()
        assert list(socket_dir.iterdir()) == []
