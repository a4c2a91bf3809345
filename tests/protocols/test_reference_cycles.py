"""Nothing that ends with a client leaves a reference cycle: a busy server's collector runs too rarely to rely on it.

Each kind of client comes `CLIENTS` times while the server's cycle collector is off; then no type of object may be
among the garbage as often. (What a first client alone leaves, such as a cache that is set up, does not count.)
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import h2.config
import h2.connection
import h2.exceptions
import h2.settings
import pytest
import trustme

from tests.stage.ports import free_port
from tests.stage.scripted_upstream import LARGE, Upstream
from tests.stage.uncollected import Uncollected

CLIENTS = 6
HOST = "127.0.0.1"
GROUP = 60  # kinds tried at once; one by one if any of them leaves something
TRANSPORT = "asyncio.selector_events._SelectorSocketTransport"
OF_TRANSPORTS = {
    TRANSPORT, "socket.socket", "asyncio.trsock.TransportSocket", "builtins.dict", "builtins.tuple", "builtins.method",
    "collections.deque"
}  # fmt: skip
UPGRADE = b"GET /app/upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class Servers:
    """The server under test, and ways to reach it."""

    def __init__(self, loop: str, directory: Path) -> None:
        self.loop = loop
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", HOST)
        pem, ca = directory / "cert.pem", directory / "ca.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(str(pem))
        authority.cert_pem.write_to_path(str(ca))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued.configure_cert(context)
        self.client = ssl.create_default_context(cafile=str(ca))
        self.h2 = ssl.create_default_context(cafile=str(ca))
        self.h2.set_alpn_protocols(["h2"])
        public = directory / "public"
        public.mkdir()
        (public / "small.html").write_text("small")
        (public / "large.bin").write_bytes(bytes(LARGE))
        self.upstreams = [Upstream(), Upstream(context)]
        plain, secure = (one.port for one in self.upstreams)
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((HOST, 0))
        threading.Thread(target=self._echo_datagrams, daemon=True).start()
        datagrams = f"udp://{HOST}:{self.udp.getsockname()[1]}"
        closed, shared = free_port(), free_port()
        tls = {"ca": str(ca), "server_name": "localhost"}
        forwards = {
            "tcp-tcp": ("tcp", f"tcp://{HOST}:{plain}"),
            "tcp-ssl": ("tcp", f"ssl://{HOST}:{secure}"),
            "ssl-tcp": ("ssl", f"tcp://{HOST}:{plain}"),
            "ssl-ssl": ("ssl", f"ssl://{HOST}:{secure}"),
            "tcp-udp": ("tcp", datagrams),
            "ssl-udp": ("ssl", datagrams),
            "udp-udp": ("udp", datagrams),
            "udp-tcp": ("udp", f"tcp://{HOST}:{plain}"),
            "udp-ssl": ("udp", f"ssl://{HOST}:{secure}"),
            "tcp-none": ("tcp", f"tcp://{HOST}:{closed}"),
            "udp-none": ("udp", f"udp://{HOST}:{closed}"),
        }
        web = [
            {"handler": "static", "root": str(public)},
            {"handler": "proxy", "path": "/app/**", "proxy_pass": f"http://{HOST}:{plain}"},
            {"handler": "proxy", "path": "/tls/**", "proxy_pass": f"https://{HOST}:{secure}", "tls": tls},
            {
                "handler": "proxy",
                "path": "/buffered/**",
                "proxy_pass": f"http://{HOST}:{plain}",
                "request_buffering": {"memory": 2},
                "response_buffering": {"memory": 0, "file": LARGE // 2},
            },
            {"handler": "proxy", "path": "/h2c/**", "proxy_pass": f"h2c://{HOST}:{shared}/app", "strip_prefix": True},
            {"handler": "proxy", "path": "/none/**", "proxy_pass": f"http://{HOST}:{closed}"},
            {
                "handler": "proxy",
                "path": "/not-tls/**",
                "proxy_pass": f"https://{HOST}:{plain}",
                "timeouts": {"connect": 1},
            },
            {"handler": "dns", "path": "/dns-query"},
        ]
        for answer in ("x", "login", "half", "large", "silent"):
            auth = {"to": f"http://{HOST}:{plain}", "path": f"/{answer}", "copy": "X-User"}
            web.append({"handler": "respond", "path": f"/auth/{answer}", "forward_auth": auth})
        both = ["web", "secure", "proxied", "shared"]
        config = {
            "tls": {"cert": str(pem), "key": str(pem)},
            "limits": {"max_connections": 2000},
            "timeouts": {"idle": 1},
            "logging": {"level": "error"},
            "trusted_proxies": [HOST],
            "listen": [
                {"name": "web", "uri": f"http://{HOST}:0"},
                {"name": "secure", "uri": f"https://{HOST}:0"},
                {"name": "proxied", "uri": f"http://{HOST}:0", "accept_proxy": HOST},
                {"name": "shared", "uri": f"http://{HOST}:{shared}", "http2": True},
                {"name": "dns-udp", "uri": f"udp://{HOST}:0"},
                {"name": "dns-tcp", "uri": f"tcp://{HOST}:0"},
                {"name": "dns-ssl", "uri": f"ssl://{HOST}:0"},
                *({"name": name, "uri": f"{scheme}://{HOST}:0"} for name, (scheme, _) in forwards.items()),
            ],
            "dns": {"a.test": {"A": "192.0.2.1"}},
            "dispatch": [
                *({**rule, "listener": both} for rule in web),
                {"handler": "dns", "listener": ["dns-udp", "dns-tcp", "dns-ssl"]},
                *(
                    {
                        "handler": "forward", "listener": name, "forward_to": target,
                        "mode": "datagram" if "udp" in name else "stream",
                        "framing": "length16" if "udp" in name and not name.startswith("udp-udp") else "raw",
                        "timeout": 0.3, **({"tls": tls} if target.startswith("ssl") else {}),
                    }
                    for name, (_, target) in forwards.items()
                ),
            ],
        }  # fmt: skip
        self.server = Uncollected(loop, config)
        self.ports = self.server.ports

    def close(self) -> None:
        with self.server:
            pass
        self.udp.close()
        for one in self.upstreams:
            one.close()

    def _echo_datagrams(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, peer = self.udp.recvfrom(65536)
                self.udp.sendto(data, peer)

    def connect(self, name: str, context: ssl.SSLContext | None = None) -> socket.socket:
        """Return a connection to a listener."""
        plain = socket.create_connection((HOST, self.ports[name]), 30)
        return plain if context is None else context.wrap_socket(plain, server_hostname="localhost")


def reset(connection: socket.socket) -> None:
    """Close at once, by a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def talk(*requests: bytes, name: str = "web", awaited: int = 1, cut: bool = False) -> Callable[[Servers], None]:
    """Return a client that sends each request, and reads `awaited` bytes at least after each; then it leaves."""

    def client(servers: Servers) -> None:
        context = servers.client if name in ("secure", "dns-ssl") or name.startswith("ssl") else None
        with servers.connect(name, context) as connection:
            for request in requests:
                connection.sendall(request)
                left = awaited
                while left > 0 and (data := connection.recv(65536)):
                    left -= len(data)
            if cut:
                reset(connection)

    return client


def get(path: str, fields: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode()


def post(path: str, length: int, body: bytes) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode() + body


class Http2Client:
    """A real HTTP/2 client over TLS."""

    def __init__(self, servers: Servers, window: int = 65535) -> None:
        self.socket = servers.connect("secure", servers.h2)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.h2.local_settings = h2.settings.Settings(
            client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
        )
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def request(self, path: str, method: str = "GET", *, ends: bool = True) -> int:
        stream = self.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
        if method == "CONNECT":
            fields.append((":protocol", "websocket"))
        self.h2.send_headers(stream, fields, end_stream=ends)
        self.flush()
        return stream

    def read_until(self, *kinds: type | tuple[type, ...]) -> None:
        """Read until an event of each of these kinds has come; of a tuple, one of them."""
        wanted = list(kinds)
        while wanted and (data := self.socket.recv(65536)):
            events = self.h2.receive_data(data)
            wanted = [kind for kind in wanted if not any(isinstance(event, kind) for event in events)]
            self.flush()
        assert not wanted


def http2(path: str, *events: type | tuple[type, ...], method: str = "GET", window: int = 65535, times: int = 1,
          body: int = -1, resets: bool = False) -> Callable[[Servers], None]:  # fmt: skip
    """Return a client that asks `times` times, waits for `events`, and leaves."""

    def client(servers: Servers) -> None:
        one = Http2Client(servers, window)
        with one.socket, contextlib.suppress(h2.exceptions.StreamClosedError):  # the server may have been quicker
            for _ in range(times):
                stream = one.request(path, method, ends=body < 0)
                if body >= 0:
                    one.h2.send_data(stream, bytes(body), end_stream=body == 4)
                    one.flush()
            one.read_until(*events)
            if resets:
                one.h2.reset_stream(stream)
                one.flush()

    return client


def datagrams(name: str, data: bytes = b"\0\5hello", *, answered: bool = True) -> Callable[[Servers], None]:
    """Return a client that sends one datagram and waits for its answer."""

    def client(servers: Servers) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.settimeout(30)
            one.sendto(data, (HOST, servers.ports[name]))
            if answered:
                one.recv(65536)

    return client


def dns_stream(name: str) -> Callable[[Servers], None]:
    query = dns.message.make_query("a.test", "A").to_wire()
    return talk(struct.pack("!H", len(query)) + query, name=name)


def bad_hello(servers: Servers) -> None:
    with servers.connect("secure") as one:
        one.sendall(b"\x16\x03\x01\0\x05\1\0\0\1\0")
        one.recv(100)


def untrusting(servers: Servers) -> None:
    with pytest.raises(ssl.SSLError), servers.connect("secure", ssl.create_default_context()):
        pass


H2 = h2.events
KINDS: dict[str, Callable[[Servers], None]] = {
    "file": talk(get("/small.html")),
    "file, TLS": talk(get("/small.html"), name="secure"),
    "file, PROXY header": talk(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + get("/small.html"), name="proxied"),
    "files pipelined": talk(get("/small.html") * 10, get("/nix") * 10),
    "large file cut": talk(get("/large.bin"), cut=True),
    "large file cut, TLS": talk(get("/large.bin"), cut=True, name="secure"),
    "compressed file": talk(get("/small.html", "Accept-Encoding: gzip\r\n")),
    "not HTTP": talk(b"nonsense\r\n\r\n"),
    "half a head": talk(b"GET / HTTP/1.1\r\n", awaited=0),
    "half a head, TLS": talk(b"GET / HTTP/1.1\r\n", awaited=0, name="secure"),
    "plain HTTP to TLS": lambda servers: servers.connect("secure").close(),
    "bad ClientHello": bad_hello,
    "certificate refused": untrusting,
    "upload refused": talk(post("/small.html", 100_000_000, b"x")),
}
for prefix in ("/app", "/tls", "/buffered", "/h2c"):
    upgrade, part = UPGRADE.replace(b"/app", prefix.encode()), post(f"{prefix}/silent", 1000, b"x" * 10)
    for name in ("web", "secure"):
        KINDS |= {
            f"{name} {prefix} proxied": talk(get(f"{prefix}/x"), get(f"{prefix}/y"), name=name),
            f"{name} {prefix} download cut by the client": talk(get(f"{prefix}/large"), name=name, cut=True),
            f"{name} {prefix} download left by the client": talk(get(f"{prefix}/large"), name=name),
            f"{name} {prefix} download cut by the upstream": talk(get(f"{prefix}/half"), name=name, awaited=LARGE),
            f"{name} {prefix} unanswered": talk(get(f"{prefix}/silent"), name=name, awaited=0, cut=True),
            f"{name} {prefix} uploaded": talk(post(f"{prefix}/x", 4, b"body"), name=name),
            f"{name} {prefix} upload cut": talk(part, name=name, awaited=0, cut=True),
            f"{name} {prefix} upload left": talk(part, name=name, awaited=0),
            f"{name} {prefix} upgraded": talk(upgrade, b"echo", name=name),
            f"{name} {prefix} upgraded, cut": talk(upgrade, b"echo", name=name, cut=True),
            f"{name} {prefix} login": talk(get(f"{prefix}/login"), get(f"{prefix}/login"), name=name),
        }  # fmt: skip
    KINDS |= {
        f"http2 {prefix} proxied": http2(f"{prefix}/x", H2.StreamEnded, times=3),
        f"http2 {prefix} download left": http2(f"{prefix}/large", H2.DataReceived),
        f"http2 {prefix} window 0": http2(f"{prefix}/large", H2.ResponseReceived, window=0, times=10),
        # An h2c target may be cut off before its head is sent, and the answer is 502 then.
        f"http2 {prefix} cut by the upstream": http2(
            f"{prefix}/half", (H2.StreamReset, H2.StreamEnded) if prefix == "/h2c" else H2.StreamReset
        ),
        f"http2 {prefix} unanswered": http2(f"{prefix}/silent"),
        f"http2 {prefix} reset": http2(f"{prefix}/large", H2.DataReceived, resets=True),
        f"http2 {prefix} uploaded": http2(f"{prefix}/x", H2.StreamEnded, method="POST", body=4),
        f"http2 {prefix} WebSocket": http2(f"{prefix}/upgrade", H2.DataReceived, method="CONNECT", body=1000),
        f"http2 {prefix} WebSocket ended": http2(f"{prefix}/upgrade", H2.StreamEnded, method="CONNECT", body=4),
        f"http2 {prefix} WebSocket reset": http2(
            f"{prefix}/upgrade", H2.DataReceived, method="CONNECT", body=1000, resets=True
        ),
        f"http2 {prefix} WebSocket unanswered": http2(f"{prefix}/silent", method="CONNECT", body=1000),
        f"http2 {prefix} upload cut": http2(f"{prefix}/silent", method="POST", body=1000),
    }
for name in ("x", "login", "half", "large"):
    KINDS |= {f"asked about, {name}": talk(get(f"/auth/{name}"), get(f"/auth/{name}"))}
KINDS |= {
    "asked about, http2": http2("/auth/x", H2.StreamEnded, times=3),
    "asked about, unanswered": talk(get("/auth/silent"), awaited=0, cut=True),
    "asked about, http2, unanswered": http2("/auth/silent"),
    "no upstream": talk(get("/none/x")),
    "upstream without TLS": talk(get("/not-tls/x")),
    "http2 file": http2("/small.html", H2.StreamEnded, times=3),
    "http2 missing": http2("/nix", H2.StreamEnded),
    "http2 refused": http2("/" + "x" * 9000, H2.StreamEnded),
    "http2 no upstream": http2("/none/x", H2.StreamEnded),
    "http2 large file left": http2("/large.bin", H2.DataReceived),
    "http2 large file, window 0": http2("/large.bin", H2.ResponseReceived, window=0, times=20),
    "http2 upload refused": http2("/small.html", H2.ResponseReceived, method="POST", body=1000),
    "dns over UDP": datagrams("dns-udp", dns.message.make_query("a.test", "A").to_wire()),
    "dns over TCP": dns_stream("dns-tcp"),
    "dns over TLS": dns_stream("dns-ssl"),
    "dns over HTTPS": talk(get("/dns-query?dns=AAABAAABAAAAAAAAAWEEdGVzdAAAAQAB"), name="secure"),
    "dns half a message": talk(b"\0\x20abc", name="dns-tcp", awaited=0),
    "tcp-tcp": talk(get("/x"), name="tcp-tcp"),
    "tcp-tcp cut": talk(get("/large"), name="tcp-tcp", cut=True),
    "tcp-tcp idle": talk(get("/silent"), name="tcp-tcp"),
    "tcp-tcp cut by the target": talk(get("/half"), name="tcp-tcp", awaited=LARGE),
    "tcp-none": lambda servers: refused(servers, "tcp-none"),
    "udp-none": datagrams("udp-none", answered=False),
    "udp-udp": datagrams("udp-udp"),
    "udp-tcp": datagrams("udp-tcp", get("/x"), answered=False),
    "udp-ssl": datagrams("udp-ssl", get("/x"), answered=False),
}
for name in ("tcp-ssl", "ssl-tcp", "ssl-ssl"):
    KINDS |= {
        name: talk(get("/x"), name=name),
        f"{name} cut": talk(get("/large"), name=name, cut=True),
        f"{name} cut by the target": talk(get("/half"), name=name, awaited=LARGE),
        f"{name} idle": talk(get("/silent"), name=name),
    }
for name in ("tcp-udp", "ssl-udp"):
    KINDS[name] = talk(b"\0\5hello", name=name)
    KINDS[f"{name} cut"] = talk(b"\0\5hello", name=name, cut=True)
    KINDS[f"{name} idle"] = talk(b"\0\5hello", name=name, awaited=1000)


def refused(servers: Servers, name: str) -> None:
    with contextlib.suppress(OSError), servers.connect(name) as one:
        one.recv(1)


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    made = Servers(request.param, tmp_path_factory.mktemp("cycles"))
    yield made
    made.close()


def left_by(servers: Any, kinds: dict[str, Callable[[Any], None]]) -> set[str]:
    """Return the types of which each client of one of these kinds has left an object.

    `servers`: with the `server` under test and its `loop`; what the clients are given.
    """
    with ThreadPoolExecutor(6 * CLIENTS) as clients:
        for done in [clients.submit(kind, servers) for _ in range(CLIENTS) for kind in kinds.values()]:
            done.result(30)
    left = {name for name, number in servers.server.count().items() if number >= CLIENTS}
    if servers.loop == "asyncio" and TRANSPORT in left:  # its transports are cycles of their own
        left -= OF_TRANSPORTS
    return left


@pytest.mark.parametrize("first", range(0, len(KINDS), GROUP))
def test_a_client_leaves_no_cycle(servers: Servers, first: int) -> None:
    kinds = dict(list(KINDS.items())[first : first + GROUP])
    if left_by(servers, kinds):
        assert {kind: left for kind, act in kinds.items() if (left := left_by(servers, {kind: act}))} == {}
