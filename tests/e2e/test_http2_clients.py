"""HTTP/2 by real clients (curl, nghttp, h2load, httpx, Chromium) against the real program, every handler behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import httpx
import pytest

from tests.stage.backends import Backends
from tests.stage.browser import REPORT, browser, reports, requests
from tests.stage.program import Program
from tests.stage.programs import needs, needs_localhost

pytestmark = needs_localhost

CONTENT = bytes(range(256)) * 40_000  # 10 MB
Start = Callable[..., Program]


@dataclass
class Site:
    """The program, serving everything over one https listener."""

    program: Program
    config: dict[str, Any]
    port: int
    trust: ssl.SSLContext
    directory: Path

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def client(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(http2=True, verify=self.trust, base_url=self.url, timeout=20, **options)

    def curl(self, *arguments: str, data: bytes | None = None) -> bytes:
        """Run curl; it has to succeed."""
        command = ["curl", "-sSk", "--http2", *arguments]
        return subprocess.run(
            command, input=data, cwd=self.directory, capture_output=True, timeout=30, check=True
        ).stdout


@pytest.fixture
def site(
    program: Start, free_port: Callable[[], int], certificates: Callable[..., Any], backends: Backends, public: Path
) -> Site:
    certificate, port, app = certificates(), free_port(), backends.http()
    (public / "large.bin").write_bytes(CONTENT)
    config: dict[str, Any] = {
        "listen": [{"name": "web", "uri": f"https://localhost:{port}"}],
        "tls": certificate.config,
        "workers": 1,
        "logging": {"format": "json"},
        "dispatch": [
            {"handler": "static", "root": str(public), "response_headers": {"X-Rule": "static"}},
            {"handler": "respond", "path": "/say", "body": "$host $scheme $client_ip\n"},
            {"handler": "redirect", "path": "/old/**", "to": "/sub/page.html"},
            {"handler": "status", "path": "/status"},
            {"handler": "proxy", "path": "/app/**", "proxy_pass": f"http://127.0.0.1:{app}"},
            {"handler": "proxy", "path": "/ws/**", "proxy_pass": f"http://127.0.0.1:{backends.websocket_echo()}"},
            {"handler": "proxy", "path": "/down/**", "proxy_pass": f"http://127.0.0.1:{free_port()}"},
            {"handler": "proxy", "path": "/small", "proxy_pass": f"http://127.0.0.1:{app}", "max_body_size": "1m"},
        ],
    }
    return Site(program(config=config), config, port, certificate.client(), public)


class TestCurl:
    pytestmark = needs("curl")

    def test_curl_downloads_files(self, site: Site) -> None:
        assert site.curl(f"{site.url}/large.bin") == CONTENT
        assert site.curl("-r", "1000-1999", f"{site.url}/large.bin") == CONTENT[1000:2000]
        assert b"multipart/byteranges" in site.curl("-i", "-r", "0-0,-1", f"{site.url}/large.bin")
        packed = site.curl("-i", "--compressed", f"{site.url}/app.css").decode()
        assert packed.endswith((site.directory / "app.css").read_text())
        assert "content-encoding: " in packed
        head = site.curl("-I", f"{site.url}/large.bin").decode()
        assert head.startswith("HTTP/2 200")
        assert f"content-length: {len(CONTENT)}" in head
        assert "x-rule: static" in head
        tag = next(line for line in head.splitlines() if line.startswith("etag: ")).removeprefix("etag: ")
        seen = site.curl("-w", "%{http_code} %{http_version}", "-H", f"If-None-Match: {tag}", f"{site.url}/large.bin")
        assert seen == b"304 2"

    def test_curl_gets_each_rules_answer(self, site: Site) -> None:
        assert site.curl("-4", f"{site.url}/say") == b"localhost https 127.0.0.1\n"
        assert site.curl("-L", f"{site.url}/old/x").startswith(b"<!doctype html><title>page")
        assert site.curl("-o", "/dev/null", "-w", "%{http_code}", f"{site.url}/none") == b"404"
        assert site.curl("-o", "/dev/null", "-w", "%{http_code}", "-d", "x=y", f"{site.url}/app.css") == b"405"
        assert site.curl("-o", "/dev/null", "-w", "%{http_code}", f"{site.url}/down/x") == b"502"
        assert b"npserver" in site.curl(f"{site.url}/status")

    def test_curl_uploads_with_and_without_length(self, site: Site) -> None:
        """With a length and without, long enough for both windows."""
        for how in (["--data-binary", "@large.bin"], ["-X", "POST", "-H", "Content-Length:", "-T", "-"]):
            asked = json.loads(site.curl(*how, f"{site.url}/app/echo", data=CONTENT))
            assert asked["body"].encode("latin-1") == CONTENT
            names = [name for name, _ in asked["headers"]]
            assert names.count("host") == 1
            assert ("cdn-loop", "npserver") in map(tuple, asked["headers"])

    def test_an_upload_too_long_is_answered_at_once(self, site: Site) -> None:
        """The answer is heard while the rest is still to be sent."""
        seen = site.curl(
            "-T", "-", "-X", "POST", "-w", "%{http_code}", "-o", "/dev/null", f"{site.url}/small", data=CONTENT
        )
        assert seen == b"413"

    def test_the_protocol_agreed_on_is_spoken(self, site: Site) -> None:
        version = ["-o", "/dev/null", "-w", "%{http_version}"]
        assert site.curl(*version, f"{site.url}/say") == b"2"
        assert site.curl(*version, "--http1.1", f"{site.url}/say") == b"1.1"
        assert site.curl(*version, "--no-alpn", f"{site.url}/say") == b"1.1"

    @needs("openssl")
    @pytest.mark.parametrize(
        ("offered", "said"),
        [("acme-tls/1", "alert no application protocol"), ("acme-tls/1,h2", "ALPN protocol: h2")],
    )
    def test_openssl_is_told_that_no_protocol_is_common(self, site: Site, offered: str, said: str) -> None:
        """RFC 7301 §3.2."""
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{site.port}", "-alpn", offered]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
        assert said in done.stdout + done.stderr
        assert (done.returncode == 0) == said.startswith("ALPN")


async def test_many_requests_share_a_connection(site: Site) -> None:
    """Large and small, up and down, over one connection."""
    async with site.client(limits=httpx.Limits(max_connections=1)) as client:
        large, small, echoed, chunked = await asyncio.gather(
            client.get("/large.bin"),
            asyncio.gather(*[client.get("/app.css") for _ in range(50)]),
            asyncio.gather(*[client.post("/app/x", content=bytes([65 + number]) * 100_000) for number in range(20)]),
            client.get("/app/chunked"),
        )
    assert (large.http_version, large.content) == ("HTTP/2", CONTENT)
    assert {one.content for one in small} == {(site.directory / "app.css").read_bytes()}
    assert [one.json()["body"] for one in echoed] == [chr(65 + number) * 100_000 for number in range(20)]
    assert chunked.json()["target"] == "/app/chunked"
    assert '"protocol":"HTTP/2.0"' in site.program.wait_for(r".*/large.bin.*")[0]


@needs("nghttp")
def test_nghttp_gets_its_files(site: Site) -> None:
    done = subprocess.run(
        ["nghttp", "-ans", "--max-concurrent-streams=10", f"{site.url}/index.html", f"{site.url}/large.bin"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert [line.split()[-3:-1] for line in done.stdout.splitlines() if line.endswith((".html", ".bin"))] == [
        ["200", "39"],
        ["200", "9M"],
    ]


@needs("h2load")
def test_h2load_loses_no_request(site: Site) -> None:
    for path in ("/app.css", "/app/x", "/sub/page.html"):
        command = ["h2load", "-n", "2000", "-c", "4", "-m", "20", f"{site.url}{path}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=40, check=True)
        assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout
        assert "Application protocol: h2" in done.stdout


@needs("chromium")
@pytest.mark.timeout(90)
def test_chromium_loads_a_page_and_a_websocket(site: Site, tmp_path: Path) -> None:
    """A page with much in it over HTTP/2, and a WebSocket over the same connection (RFC 8441)."""
    for number in range(40):
        (site.directory / f"{number}.css").write_text(f".x{number} {{ color: rgb({number}, 2, 3) }}\n")
    links = "".join(f'<link rel="stylesheet" href="{number}.css">' for number in range(40))
    (site.directory / "index.html").write_text(
        f"""<!doctype html>{links}{REPORT}
        addEventListener('load', () => {{
            const all = performance.getEntriesByType('resource').map(one => one.nextHopProtocol);
            const socket = new WebSocket('wss://' + location.host + '/ws/x');
            socket.onopen = () => socket.send('hello');
            socket.onmessage = event => report([all.length, new Set(all).size, all[0], document.styleSheets.length,
                event.data].join(' '));
            socket.onerror = () => report('no WebSocket');
        }});
        </script>"""
    )
    net_log = tmp_path / "net.json"
    options = ("--ignore-certificate-errors", f"--log-net-log={net_log}")
    with browser(f"{site.url}/", tmp_path / "profile", *options):
        assert reports(site.program) == ["40 1 h2 40 hello"]
    assert ":protocol: websocket" in net_log.read_text()
    site.program.wait_until(
        lambda: [one["protocol"] for one in requests(site.program) if one["target"] == "/ws/x"] == ["HTTP/2.0"],
        "the end of the WebSocket",
    )


@needs("curl")
def test_an_answer_under_way_is_finished_at_shutdown(site: Site) -> None:
    """§6.8: what is under way is finished."""
    with subprocess.Popen(
        ["curl", "-sSk", "--http2", "--limit-rate", "5M", f"{site.url}/large.bin"], stdout=subprocess.PIPE
    ) as curl:
        assert curl.stdout is not None
        received = curl.stdout.read(100_000)
        site.program.send_signal(signal.SIGTERM)
        received += curl.stdout.read()
    assert (received, curl.returncode) == (CONTENT, 0)
    assert site.program.wait_exit() == 0


async def test_a_connection_finds_the_new_rules_after_a_reload(site: Site) -> None:
    """A connection goes on, and finds the new rules."""
    async with site.client(limits=httpx.Limits(max_connections=1)) as client:
        assert (await client.get("/say")).text.startswith("localhost")
        site.config["dispatch"][1]["body"] = "new"
        site.program.configure(site.config)
        site.program.send_signal(signal.SIGHUP)
        site.program.wait_for("config reloaded")
        async with asyncio.timeout(30):
            while (response := await client.get("/say")).text != "new":  # the worker hears of it a moment later
                assert response.text.startswith("localhost")
        assert response.http_version == "HTTP/2"


@pytest.mark.parametrize(("tls", "listen", "selected"), [({"http2": False}, "https", "http/1.1"), ({}, "ssl", None)])
def test_where_it_is_not_offered(
    program: Start,
    free_port: Callable[[], int],
    certificates: Callable[..., Any],
    tls: dict[str, Any],
    listen: str,
    selected: str | None,
) -> None:
    """An ssl listener may pass on any protocol, so it ignores what the client offers."""
    certificate, port = certificates(), free_port()
    rule = {"handler": "respond", "body": "x"}
    program(
        config={
            "listen": [f"{listen}://127.0.0.1:{port}", f"https://127.0.0.1:{free_port()}"],
            "tls": certificate.config | tls,
            "dispatch": [rule],
        }
    )
    context = certificate.client()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", port), 30) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as secure:
            assert secure.selected_alpn_protocol() == selected


def test_http2_is_not_spoken_without_tls(program: Start, free_port: Callable[[], int]) -> None:
    """RFC 9113 §3.3: unless a listener has it (tests/e2e/test_http2_without_tls.py), the preface is refused."""
    port = free_port()
    program(f"http://127.0.0.1:{port}")
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        assert client.makefile("rb").read().startswith(b"HTTP/1.1 505 ")


def test_no_stream_gets_around_client_certificates(
    program: Start, free_port: Callable[[], int], certificates: Callable[..., Any]
) -> None:
    """RFC 9110 §15.5.20: no stream gets around showing one by naming another host than the handshake did."""
    opened, closed, port = certificates("open.example"), certificates("closed.example"), free_port()
    program(
        config={
            "listen": [f"https://127.0.0.1:{port}"],
            "tls": [opened.config, closed.config | {"client_ca": str(opened.ca)}],
            "dispatch": [{"handler": "respond", "body": "$host"}],
        }
    )
    context = opened.client()
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", port), 30) as plain:
        with context.wrap_socket(plain, server_hostname="open.example") as secure:
            peer = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
            peer.initiate_connection()
            for stream, host in ((1, "open.example"), (3, "closed.example")):
                fields = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", host)]
                peer.send_headers(stream, fields, end_stream=True)
            secure.sendall(peer.data_to_send())
            statuses: dict[int, str] = {}
            while len(statuses) < 2:
                for event in peer.receive_data(secure.recv(65_536)):
                    if isinstance(event, h2.events.ResponseReceived):
                        statuses[event.stream_id] = dict(event.headers)[":status"]
    assert statuses == {1: "200", 3: "421"}


def test_a_flood_of_window_updates_leaves_others_their_turn(site: Site) -> None:
    """Four clients that send WINDOW_UPDATE frames of one octet, again and again; another is answered all the time."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    ended = threading.Event()
    greeting = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
    update = bytes((0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1))

    until = time.monotonic() + 20
    refused: list[int] = []

    def flood() -> None:
        while not ended.is_set() and time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", site.port), 30) as plain:
                with context.wrap_socket(plain, server_hostname="localhost") as client:
                    client.sendall(greeting)
                    while not ended.is_set() and time.monotonic() < until:
                        client.sendall(update * 10_000)
            refused.append(1)

    answered: list[int] = []
    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(flood)
        with httpx.Client(http2=True, verify=context, base_url=site.url, timeout=20) as client:
            while (len(answered) < 100 or len(refused) < 8) and time.monotonic() < until:
                answered.append(client.get("/app.css").status_code)
        ended.set()
    assert len(answered) >= 100
    assert len(refused) >= 8
    assert set(answered) == {200}
    site.program.wait_for("limits.max_window_updates exceeded")
