"""WebSockets over HTTP/2 (RFC 8441) through the real program, to real WebSocket servers of HTTP/1.1.

Covers `http.extended_connect` and `web.server.http2.stream_transport`.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h2.errors
import pytest
from websockets.sync.server import ServerConnection, serve

from tests.stage.asking import get
from tests.stage.backends import Backends
from tests.stage.http2_talk import Talk, WebSocket
from tests.stage.program import Program

Start = Callable[..., Program]
NO_ERROR = int(h2.errors.ErrorCodes.NO_ERROR)
CANCEL = int(h2.errors.ErrorCodes.CANCEL)


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Site:
    """The program with a WebSocket server behind it."""

    def __init__(self, program: Start, port: int, upstream: int, public: Path, loop: str, **extra: Any) -> None:
        self.port = port
        self.config: dict[str, Any] = {
            "listen": [{"uri": f"http://127.0.0.1:{port}", "http2": True}],
            "workers": 1,
            "logging": {"format": "json"},
            "dispatch": [
                {"handler": "static", "root": str(public)},
                {"handler": "respond", "path": "/say", "body": "here"},
                {"handler": "proxy", "path": "/ws/**", "proxy_pass": f"http://127.0.0.1:{upstream}"},
                {"handler": "proxy", "path": "/denied/**", "proxy_pass": f"http://127.0.0.1:{upstream}",
                 "deny": "127.0.0.1"},
                {"handler": "proxy", "path": "/page/**", "proxy_pass": f"http://127.0.0.1:{port}/",
                 "strip_prefix": "/page"},
                {"handler": "proxy", "path": "/down/**", "proxy_pass": "http://127.0.0.1:1"},
            ],
            **extra,
        }  # fmt: skip
        self.program = program(config=self.config, env={"NPSERVER_LOOP": loop})

    @contextmanager
    def talk(self) -> Iterator[Talk]:
        with socket.create_connection(("127.0.0.1", self.port), 30) as client:
            yield Talk(client)


@pytest.fixture
def site(program: Start, free_port: Callable[[], int], backends: Backends, public: Path, loop: str) -> Site:
    return Site(program, free_port(), backends.websocket_echo(), public, loop)


def test_messages_of_all_sizes_beside_other_requests(site: Site) -> None:
    with site.talk() as talk:
        one = WebSocket(talk, "/ws/a", early="before the answer")
        assert (one.status, one.recv()) == ("200", "before the answer")
        assert "sec-websocket-accept" not in one.fields and "upgrade" not in one.fields
        other = WebSocket(talk, "/ws/b")
        for size in (0, 1, 125, 126, 65535, 65536, 900_000):
            message = bytes(size)
            one.send(message)
            assert one.recv() == message
        other.send("who")
        assert other.recv() == "ws"
        assert talk.ask("/say") == ("200", b"here")
        one.send("still")
        assert one.recv() == "still"


def test_the_close_of_a_websocket_ends_its_stream_alone(site: Site) -> None:
    with site.talk() as talk:
        one, other = WebSocket(talk, "/ws/a"), WebSocket(talk, "/ws/b")
        one.protocol.send_close(1000)
        one._send(b"".join(one.protocol.data_to_send()))
        one.wait_end()
        assert (one.has_ended, one.reset) == (True, None)
        one.end()
        other.send("x")
        assert other.recv() == "x"
    site.program.wait_until(lambda: site.program.output.count('"/ws/') == 2, "two lines of the access log")
    assert '"status": 200' in site.program.output.replace('":200', '": 200')


def test_a_reset_reaches_the_upstream(site: Site) -> None:
    with site.talk() as talk:
        one = WebSocket(talk, "/ws/a")
        talk.http2.reset_stream(one.stream, CANCEL)
        one._flush()
        site.program.wait_until(lambda: '"/ws/a"' in site.program.output, "the end of the tunnel")
        assert talk.ask("/say")[0] == "200"


NO_WEBSOCKETS = {
    "/say": "400", "/index.html": "400", "/bytes.bin": "400", "/none": "404", "/denied/x": "403",
    "/down/x": "502", "/page/say": "502", "/page/bytes.bin": "502",
}  # fmt: skip


def test_what_is_no_websocket_gets_no_2xx(site: Site) -> None:
    """A page with 200 would be taken for the tunnel; the connection and its other streams go on."""
    target = f"upstream http://127.0.0.1:{site.port}: a WebSocket was asked for, and answered with 200 (dispatch[4])"
    for path, status in NO_WEBSOCKETS.items():
        with site.talk() as talk:
            other = WebSocket(talk, "/ws/b")
            for _ in range(20):  # more than the refused uploads that a connection may have
                one = WebSocket(talk, path, early="x" * 100)
                assert one.status == status, path
                one.wait_end()
                if not one.has_ended:
                    assert one.reset == NO_ERROR, path
            other.send("x")
            assert other.recv() == "x", path
            assert talk.ask("/say")[0] == "200", path
        assert (target in site.program.errors) is path.startswith("/page/"), path


ODD: list[tuple[dict[str, str], str]] = [
    ({":protocol": "webtransport"}, "501"), ({":protocol": "connect-udp"}, "501"),
    ({"sec-websocket-key": "AAAA"}, "200"), ({"content-length": "5"}, "200"), ({"sec-websocket-version": "7"}, "400"),
]  # fmt: skip


def test_odd_requests(site: Site) -> None:
    for fields, status in ODD:
        with site.talk() as talk:
            one = WebSocket(talk, "/ws/a", fields)
            assert one.status == status, fields
            assert talk.ask("/say")[0] == "200", fields


def test_tunnels_live_on_in_a_reload_and_end_with_the_server(site: Site) -> None:
    with site.talk() as talk:
        one = WebSocket(talk, "/ws/a")
        site.config["dispatch"] = [{"handler": "respond", "body": "new"}]
        site.config["timeouts"] = {"shutdown": "100ms"}
        site.program.configure(site.config)
        site.program.send_signal(signal.SIGHUP)
        site.program.wait_until(lambda: get(site.port, "/")[1] == b"new", "the new rules")
        one.send("after")
        assert one.recv() == "after"
        site.program.send_signal(signal.SIGTERM)
        one.wait_end()
    assert site.program.wait_exit() == 0


def test_the_upstream_goes_in_the_middle(program: Start, free_port: Callable[[], int], public: Path, loop: str) -> None:
    def cut(connection: ServerConnection) -> None:
        connection.recv()
        connection.socket.shutdown(socket.SHUT_RDWR)

    with serve(cut, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        site = Site(program, free_port(), server.socket.getsockname()[1], public, loop)
        with site.talk() as talk:
            one = WebSocket(talk, "/ws/a")
            one.send("x")
            one.wait_end()
            assert talk.ask("/say")[0] == "200"
        server.shutdown()
