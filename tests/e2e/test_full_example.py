"""`examples/full.json`, its ports and upstreams mapped to free addresses of the loopback: every rule does its job.

Real clients: httpx, curl, dig, websockets, and plain sockets for what is forwarded.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from tests.stage.backends import Backends
from tests.stage.program import ROOT, Program
from tests.stage.programs import needs, needs_localhost

SAMPLE = ROOT / "examples" / "full.json"
LISTENERS = {
    "web": "http://:8080",
    "tls": "https://:8443",
    "dns-in": "udp://127.0.0.1:5353",
    "db-local": "tcp://:3307",
    "sidecar": "tcp://:9000",
    "gameproxy": "udp://:27015",
}
TIMEOUT_S = 30.0


@dataclass(slots=True)
class Sample:
    """The running sample: its listeners' ports, and what its upstreams have received."""

    program: Program
    ports: dict[str, int]
    sockets: Path
    ca: Path
    statsd: list[bytes]

    def url(self, path: str, listener: str = "web") -> str:
        return f"http://127.0.0.1:{self.ports[listener]}{path}"

    def curl(self, path: str, *options: str) -> str:
        """Ask the TLS listener; gives the body and, in a line of its own, status and 0 for a good certificate."""
        asked = f"https://127.0.0.1:{self.ports['tls']}{path}"
        told = "\n%{http_code} %{ssl_verify_result}"
        command = ["curl", "-sS", "--cacert", str(self.ca), "-w", told, *options, asked]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout

    def dig(self, name: str, kind: str, *options: str) -> list[str]:
        """The answer section, each record's fields joined by single spaces."""
        server = ["dig", "@127.0.0.1", "-p", str(self.ports["dns-in"]), "+time=5", "+tries=1"]
        sections = ["+noall", "+answer"]
        done = subprocess.run([*server, *sections, *options, name, kind], capture_output=True, text=True, timeout=20)
        lines = [line for line in done.stdout.splitlines() if line and not line.startswith(";")]
        return sorted(" ".join(line.split()) for line in lines)

    def connect(self, listener: str) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.ports[listener]), TIMEOUT_S)


def map_sample(text: str, places: dict[str, str]) -> str:
    """Put other addresses in the sample's text; each has to be there."""
    for old, new in places.items():
        assert old in text, f"{old} is not in the sample any more"
        text = text.replace(old, new)
    return text


@pytest.fixture
def start(
    program: Callable[..., Program],
    backends: Backends,
    free_port: Callable[[], int],
    certificates: Callable[..., Any],
    socket_dir: Path,
    public: Path,
) -> Callable[..., Sample]:
    """Return `start(without="")`: runs the sample; a rule whose text matches `without` is left out."""

    def run(without: str = "") -> Sample:
        issued = certificates()
        ports = {name: free_port() for name in LISTENERS}
        statsd_port, statsd = backends.udp_sink()
        backends.unix_echo(socket_dir / "php-fpm.sock")
        shutil.copy(issued.cert, public.parent / "fullchain.pem")
        shutil.copy(issued.key, public.parent / "privkey.pem")
        text = SAMPLE.read_text()
        if without:
            text, count = re.subn(without, "", text)
            assert count == 1
        listens = {uri: f"{uri.partition(':')[0]}://127.0.0.1:{ports[name]}" for name, uri in LISTENERS.items()} | {
            "unix:///tmp/app.sock": f"unix://{socket_dir}/app.sock"
        }
        places = {
            **listens,
            "http://127.0.0.1:8001": f"http://127.0.0.1:{backends.http('app1')}",
            "http://127.0.0.1:8002": f"http://127.0.0.1:{backends.http('app2')}",
            "http://127.0.0.1:8003": f"http://127.0.0.1:{backends.http('app3')}",
            "http://127.0.0.1:8010": f"http://127.0.0.1:{backends.websocket_echo('ws1')}",
            "http://127.0.0.1:8011": f"http://127.0.0.1:{backends.websocket_echo('ws2')}",
            "http://127.0.0.1:8000": f"http://127.0.0.1:{backends.http('api')}",
            "tcp://dbserver.internal:3306": f"tcp://127.0.0.1:{backends.tcp_echo()}",
            "tcp://gameserver.internal:27015": f"tcp://127.0.0.1:{backends.tcp_echo()}",
            "unix:///var/run/php-fpm.sock": f"unix://{socket_dir}/php-fpm.sock",
            '"cache.local":': '"2.11.168.192.in-addr.arpa": { "PTR": "redis.local" },\n    "cache.local":',
        }
        if not without:
            places["udp://statsd.internal:8125"] = f"udp://127.0.0.1:{statsd_port}"
        running = program(config=map_sample(text, places), listens=list(listens.values()))
        return Sample(running, ports, socket_dir, issued.ca, statsd)

    return run


def test_the_web_listener_obeys_its_rules(start: Callable[..., Sample], public: Path) -> None:
    """Static files, `/api/**`, `/app/**` over three targets."""
    sample = start()
    with httpx.Client(timeout=TIMEOUT_S) as client:
        page = client.get(sample.url("/"))
        assert (page.status_code, page.text) == (200, (public / "index.html").read_text())
        part = client.get(sample.url("/bytes.bin"), headers={"Range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, (public / "bytes.bin").read_bytes()[100:200])
        assert client.get(sample.url("/none")).status_code == 404

        asked = client.post(sample.url("/api/items?id=7"), content=b"body", headers={"X-Real-IP": "forged"}).json()
        fields = dict(asked["headers"])
        told = [asked[key] for key in ("name", "method", "target", "body")]
        assert told == ["api", "POST", "/api/items?id=7", "body"]
        assert fields["x-forwarded-for"] == fields["x-real-ip"] == "127.0.0.1"
        assert (fields["x-forwarded-proto"], fields["x-forwarded-host"]) == ("http", f"127.0.0.1:{sample.ports['web']}")

        served = [client.get(sample.url("/app/page")).headers["X-Backend"] for _ in range(30)]
        assert set(served) == {"app1", "app2", "app3"}


@needs("curl")
def test_the_tls_listener_obeys_its_rules(start: Callable[..., Sample], public: Path) -> None:
    """The same over TLS 1.2 and 1.3, by curl."""
    sample = start()
    page = (public / "index.html").read_text()
    assert sample.curl("/", "--tlsv1.3") == f"{page}\n200 0"
    assert sample.curl("/", "--tls-max", "1.2") == f"{page}\n200 0"
    asked = sample.curl("/api/x")
    assert '"name": "api"' in asked
    assert '["x-forwarded-proto", "https"]' in asked


def test_websockets_are_balanced(start: Callable[..., Sample]) -> None:
    """`/ws/**`: least connections over two targets."""
    sample = start()
    uri = sample.url("/ws/chat").replace("http", "ws", 1)
    with connect(uri, open_timeout=TIMEOUT_S) as one, connect(uri, open_timeout=TIMEOUT_S) as other:
        names = []
        for socket_ in (one, other):
            socket_.send("hello")
            assert socket_.recv(TIMEOUT_S) == "hello"
            socket_.send(b"\x00\x01" * 5000)
            assert socket_.recv(TIMEOUT_S) == b"\x00\x01" * 5000
            socket_.send("who")
            names.append(socket_.recv(TIMEOUT_S))
        assert sorted(names) == ["ws1", "ws2"]


def test_forwards_reach_their_targets(start: Callable[..., Sample]) -> None:
    """TCP to TCP, TCP to UDP (StatsD), UDP to TCP (game)."""
    sample = start()
    with sample.connect("db-local") as database:
        database.sendall(b"SELECT 1")
        database.shutdown(socket.SHUT_WR)
        assert b"".join(iter(lambda: database.recv(100), b"")) == b"SELECT 1"
    with sample.connect("sidecar") as sidecar:
        sidecar.sendall(b"page.views:1|c")
        sample.program.wait_until(lambda: sample.statsd, "datagram at StatsD")
    assert sample.statsd == [b"page.views:1|c"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as player:
        player.settimeout(TIMEOUT_S)
        player.connect(("127.0.0.1", sample.ports["gameproxy"]))
        for move in (b"left", b"right"):
            player.send(move)
            assert player.recv(100) == move


@needs_localhost
def test_the_unix_listener_obeys_its_rules(start: Callable[..., Sample], public: Path) -> None:
    """The Unix listener serves HTTP; the forward to a Unix socket works once the one that hides it is gone."""
    sample = start(without=r'\{ "listener": "sidecar", "handler": "forward",\s+"forward_to": "udp:[^}]+\},')
    transport = httpx.HTTPTransport(uds=str(sample.sockets / "app.sock"))
    with httpx.Client(transport=transport, timeout=TIMEOUT_S) as client:
        assert client.get("http://localhost/").text == (public / "index.html").read_text()
    with sample.connect("sidecar") as application:
        application.sendall(b"FastCGI")
        assert application.recv(100) == b"FastCGI"


def test_two_bare_forwards_are_warned_of(start: Callable[..., Sample]) -> None:
    """The first wins, and the start says so, where it stands."""
    sample = start()
    sample.program.wait_for(r"npserver\.json:\d+:\d+: warning: .*")


DNS = [
    ("redis.local", "A", ["redis.local. 300 IN A 192.168.11.2"]),
    ("redis.local", "AAAA", ["redis.local. 300 IN AAAA fd00::2"]),
    ("ReDiS.LOCAL", "A", ["ReDiS.LOCAL. 300 IN A 192.168.11.2"]),
    ("web.local", "A", ["web.local. 300 IN A 10.0.0.10", "web.local. 300 IN A 10.0.0.11"]),
    ("app.local", "CNAME", ["app.local. 300 IN CNAME web.local."]),
    (
        "app.local",
        "A",
        ["app.local. 300 IN CNAME web.local.", "web.local. 300 IN A 10.0.0.10", "web.local. 300 IN A 10.0.0.11"],
    ),
    ("cache.local", "A", ["cache.local. 60 IN A 192.168.11.4"]),
    (
        "example.com",
        "MX",
        ["example.com. 300 IN MX 10 mx1.example.com.", "example.com. 300 IN MX 20 mx2.example.com."],
    ),
    ("example.com", "TXT", ['example.com. 300 IN TXT "v=spf1 include:example.com ~all"']),
    ("example.com", "NS", ["example.com. 300 IN NS ns1.example.com.", "example.com. 300 IN NS ns2.example.com."]),
    ("_http._tcp.web.local", "SRV", ["_http._tcp.web.local. 300 IN SRV 0 100 8080 web.local."]),
    ("2.11.168.192.in-addr.arpa", "PTR", ["2.11.168.192.in-addr.arpa. 300 IN PTR redis.local."]),
    ("none.local", "A", []),
]


@needs("dig")
def test_the_name_server_answers(start: Callable[..., Sample]) -> None:
    """Every type of record, by dig."""
    sample = start()
    assert [(name, kind, sample.dig(name, kind)) for name, kind, _ in DNS] == DNS
    assert len(sample.dig("example.com", "ANY", "+notcp")) >= 1
