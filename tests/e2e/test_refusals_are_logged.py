"""Every refusal over HTTP/1.1 and HTTP/2 has a line in the server log: status, request, reason, and what decided.

That is a config key or a rule, or for broken requests the section of the standard. Covers `web.server.refusals`. Every
reason that `tests.stage.refusals` finds in the source is provoked, but for those in `tests.stage.refused.NOT_PROVOKED`.
"""

from __future__ import annotations

import base64
import os
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

from npserver.web.handlers.static.root import FileError
from tests.stage.program import Program
from tests.stage.refusals import modules, sites
from tests.stage.refused import GET, HTTP1_ONLY, HTTP2_ONLY, MAX_CONNECTIONS, MISDIRECTED, NOT_PROVOKED, RAW, Refusing

DEADLINE_S = 30.0


class Faulty(socketserver.BaseRequestHandler):
    """An upstream that speaks no HTTP, or sends half an answer and closes, or half and nothing more."""

    def handle(self) -> None:
        path = self.request.recv(65536).split()[1]
        if path == b"/garbage":
            self.request.sendall(b"nonsense\r\n\r\n")
            return
        if path == b"/teapot":
            self.request.sendall(b"HTTP/1.1 418 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        if path == b"/stalled":
            self.request.recv(65536)


@pytest.fixture
def faulty() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Faulty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def silent() -> Iterator[int]:
    """An upstream that takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def status_of(client: socket.socket, data: bytes, *, ends: bool = False) -> int:
    """Send bytes over HTTP/1.1, perhaps with a FIN, and return the status of the answer."""
    client.sendall(data)
    if ends:
        client.shutdown(socket.SHUT_WR)
    received = b""
    while b"\r\n" not in received and (piece := client.recv(65536)):
        received += piece
    return int(received.split()[1])


class Http2:
    """A client of HTTP/2 that checks nothing of what it sends."""

    def __init__(self, client: ssl.SSLSocket) -> None:
        config = h2.config.H2Configuration(
            validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding="ascii"
        )
        self.client = client
        self.connection = h2.connection.H2Connection(config)
        self.connection.initiate_connection()
        self.statuses: dict[int, int] = {}

    def ask(self, fields: list[tuple[str, str]], body: bytes = b"", *, ends: bool = True) -> int:
        """Send a request; return its stream."""
        stream = self.connection.get_next_available_stream_id()
        self.connection.send_headers(stream, fields, end_stream=ends and not body)
        while body and stream not in self.statuses:
            if room := min(self.connection.local_flow_control_window(stream), 16384):
                self.connection.send_data(stream, body[:room], end_stream=ends and len(body) <= room)
                body = body[room:]
            else:
                self._exchange()
        return stream

    def status_of(self, stream: int) -> int:
        """Return the status that a stream is answered with."""
        while stream not in self.statuses:
            self._exchange()
        return self.statuses[stream]

    def _exchange(self) -> None:
        self.client.sendall(self.connection.data_to_send())
        data = self.client.recv(65536)
        assert data, "the server has closed"
        for event in self.connection.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                self.statuses[event.stream_id] = int(dict(event.headers)[":status"])
            elif isinstance(event, h2.events.StreamReset):
                self.statuses.setdefault(event.stream_id, -int(event.error_code))


@pytest.fixture
def root(socket_dir: Path) -> Path:
    """A directory with a file for each reason not to serve one."""
    socket_dir.chmod(0o755)
    found = socket_dir / "site"
    (found / "directory").mkdir(parents=True)
    (found / "blind").mkdir()
    (found / "a.png").write_bytes(bytes(10))
    (found / "secret.txt").write_text("secret")
    (found / "secret.txt").chmod(0o600 if os.geteuid() == 0 else 0)
    (found / "outside").symlink_to("/etc/hostname")
    (found / "blind").chmod(0o711 if os.geteuid() == 0 else 0o311)
    return found


class Walk:
    """The program that refuses, and what it has logged."""

    def __init__(self, one: Program, stage: Refusing, trust: ssl.SSLContext) -> None:
        self.one, self.stage, self.trust = one, stage, trust
        self.wrong: list[str] = []  # what was answered or logged otherwise
        self.seen: list[str] = []  # the reasons logged

    def check(self, title: str, status: int, answered: int, reason: str, key: str, path: str = ".*") -> None:
        """Check an answer, and wait for its line in the log. `path`: a pattern for what is logged of it."""
        line = rf"http: {status} for \S+ {path} from 127\.0\.0\.1: ({reason}) \({re.escape(key)}\)$"
        if answered != status:
            self.wrong.append(f"{title}: {answered} instead of {status}")
            return
        try:
            self.seen.append(self.one.wait_for_new(line)[1])
        except AssertionError:
            self.wrong.append(f"{title}: no line {line}; new: {self.one.new_errors}")

    def http1(self, port: int, data: bytes, **options: Any) -> int:
        """Send bytes, and return the status that they are answered with."""
        self.one.forget_errors()
        with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as client:
            return status_of(client, data, **options)

    @contextmanager
    def secured(self, protocol: str) -> Iterator[ssl.SSLSocket]:
        """Yield a connection over TLS."""
        self.one.forget_errors()
        self.trust.set_alpn_protocols([protocol])
        with socket.create_connection(("127.0.0.1", self.stage.secure_port), DEADLINE_S) as plain:
            with self.trust.wrap_socket(plain, server_hostname="localhost") as client:
                yield client

    @contextmanager
    def http2(self) -> Iterator[Http2]:
        """Yield a client of HTTP/2."""
        with self.secured("h2") as client:
            yield Http2(client)


@pytest.fixture
def walk(
    program: Callable[..., Program], free_port: Callable[[], int], certificates: Callable[..., Any], root: Path,
    faulty: int, silent: int,
) -> Walk:  # fmt: skip
    opened, closed = certificates(), certificates("closed.example")
    upstreams = {"faulty": faulty, "silent": silent, "dead": free_port()}
    tls = [opened.config, {**closed.config, "client_ca": str(opened.ca)}]
    stage = Refusing(root, free_port(), free_port(), tls, upstreams)
    return Walk(program(config=stage.config), stage, opened.client())


def test_an_answer_that_is_cut_short_names_what_decided(walk: Walk) -> None:
    for path, reason, key in walk.stage.cut_short():
        line = rf"warn  http: 200 for GET {path} from 127\.0\.0\.1 cut short: {reason} \({re.escape(key)}\)$"
        with socket.create_connection(("127.0.0.1", walk.stage.port), DEADLINE_S) as client:
            walk.one.forget_errors()
            assert status_of(client, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()) == 200
            walk.one.wait_for_new(line)
        with walk.http2() as http2:
            fields = [*GET[:2], (":path", path), (":authority", "a")]
            assert http2.status_of(http2.ask(fields)) == 200
            walk.one.wait_for_new(line)


def test_each_names_the_key_that_decided(walk: Walk) -> None:
    one, stage, check = walk.one, walk.stage, walk.check
    for method, target, fields, body, status, reason, key in stage.cases():
        lines = [f"{method} {target} HTTP/1.1", "Host: a", *[f"{name}: {value}" for name, value in fields.items()]]
        length = [f"Content-Length: {len(body)}"] if body else []
        data = "\r\n".join([*lines, *length, "", ""]).encode() + body
        check(f"HTTP/1.1 {data[:80]!r}", status, walk.http1(stage.port, data), reason, key, _logged(target))
        with walk.http2() as http2:
            pseudo = [(":method", method), (":scheme", "https"), (":path", target), (":authority", "a")]
            size = [("content-length", str(len(body)))] if body else []
            stream = http2.ask([*pseudo, *fields.items(), *size], body)
            check(f"HTTP/2 {method} {target}", status, http2.status_of(stream), reason, key, _logged(target))

    for text, status, reason, key in HTTP1_ONLY:
        check(f"HTTP/1.1 {text[:80]!r}", status, walk.http1(stage.port, text.encode()), reason, key)
    cut = (RAW + "Content-Length: 9\r\n\r\nx").encode()
    reason, key = "client closed within the request body", "RFC 9112 §8"
    check("a body that ends early", 400, walk.http1(stage.port, cut, ends=True), reason, key)
    with walk.secured("http/1.1") as client:
        status = status_of(client, b"GET / HTTP/1.1\r\nHost: closed.example\r\n\r\n")
        check("HTTP/1.1 to another host", 421, status, *MISDIRECTED)
    assert walk.http1(stage.secure_port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == 400
    one.wait_for_new(r"tls: 400 for 127\.0\.0\.1:\d+: expected a TLS handshake, got b'GET .* \(listen: secure\)$")

    for sent, body, ends, status, reason, key in HTTP2_ONLY:
        with walk.http2() as http2:
            check(f"HTTP/2 {sent}", status, http2.status_of(http2.ask(sent, body, ends=ends)), reason, key)
    with walk.http2() as http2:
        logins = [base64.b64encode(f"alice:{number}".encode()).decode() for number in range(70)]
        private = [*GET[:2], (":path", "/private"), (":authority", "a")]
        streams = [http2.ask([*private, ("authorization", f"Basic {login}")]) for login in logins]
        check("too many guesses", 503, http2.status_of(streams[-1]), "too many passwords to check",
              stage.key("/private", "basic_auth"))  # fmt: skip

    clients = [socket.create_connection(("127.0.0.1", stage.port), DEADLINE_S) for _ in range(MAX_CONNECTIONS + 1)]
    one.forget_errors()
    try:
        for client in clients[:-1]:
            client.sendall(b"GET /respond HTTP/1.1\r\n")  # has connected, for the server too
        status = status_of(clients[-1], b"GET /respond HTTP/1.1\r\n")
        check("one connection too many", 503, status, "too many connections", "limits.max_connections")
    finally:
        for client in clients:
            client.close()

    assert walk.wrong == [], "\n".join(walk.wrong)
    patterns = {site.pattern for path in modules() for site in sites(path)} - {""}
    patterns |= {re.escape(error.reason) for error in FileError}
    missing = {pattern for pattern in patterns if not any(re.match(pattern, reason) for reason in walk.seen)}
    excuses = {pattern: [reason for reason in NOT_PROVOKED if re.fullmatch(pattern, reason)] for pattern in missing}
    assert [pattern for pattern, reasons in excuses.items() if not reasons] == []
    assert sorted(reason for reasons in excuses.values() for reason in reasons) == sorted(NOT_PROVOKED)


def _logged(target: str) -> str:
    """Return a pattern for a target's path in the log, which is cut."""
    path = repr(target.partition("?")[0])[1:-1]
    return re.escape(path) if len(path) <= 200 else re.escape(path[:200]) + r"\.\.\."
