"""HTTP/3 with several workers: connections stay with theirs, whatever their clients' addresses and reloads do.

Covers listen.quic.handover, runtime.connection_ids, program.http3.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.conftest import Certificate
from tests.stage.asking import SlowUpstream, get
from tests.stage.browser import REPORT, browser, reports
from tests.stage.http3 import Client, connected
from tests.stage.program import Program
from tests.stage.programs import find, needs

Start = Callable[..., Program]


def config(port: int, status: int, body: str = "hello", **more: Any) -> dict[str, Any]:
    return {
        "workers": 2,
        "listen": [
            {"uri": f"https://127.0.0.1:{port}", "name": "web", "http3": True, "tls": "internal"},
            {"uri": f"http://127.0.0.1:{status}", "name": "status"},
        ],
        "dispatch": [
            {"handler": "respond", "path": "/", "listener": "web", "body": body},
            {"handler": "status", "path": "/**", "listener": "status"},
        ],
        **more,
    }


def metric(port: int, name: str) -> int:
    text = get(port, "/?format=prometheus")[1].decode()
    found = re.search(rf"^{name}(?:\{{[^}}]*\}})? (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0


def reload(one: Program) -> None:
    before = one.errors.count("config reloaded")
    one.send_signal(signal.SIGHUP)
    one.wait_until(lambda: one.errors.count("config reloaded") > before, "the reload")


class TestWorkers:
    async def test_clients_that_move_stay_with_their_worker(self, program: Start, free_port: Callable[[], int]) -> None:
        port, status = free_port(), free_port()
        program(config=config(port, status))
        clients = [Client(port) for _ in range(8)]
        for client in clients:
            await client.connect()
            assert (await client.request()).body == b"hello"
        for turn in range(3):  # as often as the library allows
            for client in clients:
                if turn % 2:
                    client.quic.change_connection_id()
                client.move()
                assert (await client.request()).body == b"hello"
        assert metric(status, "npserver_quic_connections") == 8
        assert metric(status, "npserver_quic_handed_on_total") > 8  # half of the ports are the other worker's
        for client in clients:
            client.leave()
            client.close()

    async def test_a_reload_storm(self, program: Start, free_port: Callable[[], int]) -> None:
        port, status = free_port(), free_port()
        one = program(config=config(port, status, "0"))
        async with connected(port) as first, connected(port) as second:
            for number in range(1, 4):
                one.configure(config(port, status, str(number)))
                answers = asyncio.gather(*[client.request() for client in (first, second) for _ in range(20)])
                await asyncio.to_thread(reload, one)
                assert {answer.status for answer in await answers} == {200}
                for client in (first, second):
                    client.move()
                    assert (await client.request()).body == str(number).encode()
            assert metric(status, "npserver_quic_connections_opened_total") == 2

    async def test_a_stop_lets_answers_end(
        self, program: Start, free_port: Callable[[], int], slow: SlowUpstream
    ) -> None:
        port, status = free_port(), free_port()
        made = config(port, status)
        upstream = f"http://127.0.0.1:{slow.port}"
        made["dispatch"].insert(0, {"handler": "proxy", "path": "/slow", "listener": "web", "proxy_pass": upstream})
        one = program(config=made)
        async with connected(port) as idle, connected(port) as busy:
            await idle.request()
            _, answer = busy.begin(path="/slow")
            await asyncio.to_thread(slow.take_request)
            one.send_signal(signal.SIGTERM)
            await idle.until(lambda: idle.closed is not None)
            assert idle.closed is not None and idle.closed.error_code == 0x100
            busy.move()  # its worker is found while it drains, too
            busy.quic.send_ping(1)
            busy.send()
            slow.answer(b"at last")
            await busy.until(lambda: busy.closed is not None)
            assert answer.body == b"at last"
        assert one.wait_exit() == 0

    def test_counters_of_what_a_reload_adds_are_its_own(self, program: Start, free_port: Callable[[], int]) -> None:
        port, status = free_port(), free_port()
        one = program(config=config(port, status))
        made = config(port, status)
        made["upstreams"] = {"app": {"targets": [f"http://127.0.0.1:{status}"]}}
        made["dispatch"].insert(
            0, {"handler": "proxy", "path": "/app/**", "listener": "status", "proxy_pass": "upstream://app",
                "strip_prefix": True}
        )  # fmt: skip
        one.configure(made)
        reload(one)
        for _ in range(20):
            assert get(status, "/app/")[0] == 200
        one.wait_until(lambda: metric(status, "npserver_upstream_requests_total") == 20, "the counts of both workers")
        assert metric(status, "npserver_quic_connections") == 0
        assert metric(status, "npserver_quic_connections_opened_total") == 0

    async def test_a_worker_that_dies(self, program: Start, free_port: Callable[[], int]) -> None:
        """Its connections end by stateless resets of the one that follows it, and clients are served again."""
        port, status = free_port(), free_port()
        one = program(config=config(port, status, workers=1))
        async with connected(port) as client:
            await client.request()
            workers = [pid for pid in one.children() if "worker" in Path(f"/proc/{pid}/cmdline").read_text()]
            for pid in workers:
                subprocess.run(["kill", "-KILL", str(pid)], check=True)
            one.wait_for("worker 0 .*SIGKILL")
            client.begin(fields=[("x-long", "x" * 100)])
            token = client.quic._peer_cid.stateless_reset_token
            await client.until(lambda: token is not None and client.last.endswith(token))  # aioquic does not look
            assert metric(status, "npserver_quic_connections") == 0
            async with connected(port) as next_one:
                assert (await next_one.request()).body == b"hello"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
async def test_as_another_user(
    program: Start, free_port: Callable[[], int], certificates: Callable[..., Certificate], tmp_path: Path
) -> None:
    """The master binds the UDP port and reads the key, neither of which the workers may do."""
    assert tmp_path.parent.stat().st_mode & 0o077 == 0
    port, status, certificate = free_port(), free_port(), certificates()
    made = config(port, status, user="nobody")
    made["listen"][0]["tls"] = certificate.config
    one = program(config=made)
    async with connected(port) as client:
        assert (await client.request()).body == b"hello"
        one.configure(made | {"dispatch": [{"handler": "respond", "body": "reloaded"}]})
        await asyncio.to_thread(reload, one)
        assert (await client.request()).body == b"reloaded"
        async with connected(port) as another:
            assert (await another.request()).body == b"reloaded"


class TestClients:
    @needs("gtlsclient")
    def test_ngtcp2(self, program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
        port, status = free_port(), free_port()
        made = config(port, status)
        (tmp_path / "files").mkdir()
        (tmp_path / "files" / "big").write_bytes(bytes(range(256)) * 8192)
        made["dispatch"].append(
            {"handler": "static", "path": "/big", "root": str(tmp_path / "files"), "listener": "web"}
        )
        program(config=made)
        (tmp_path / "got").mkdir()
        for options in ((), ("--change-local-addr=50ms", "--delay-stream=100ms"), ("--key-update=10ms",)):
            done = subprocess.run(
                [str(find("gtlsclient")), "-q", "--exit-on-all-streams-close", "--no-quic-dump", "--no-http-dump",
                 f"--download={tmp_path / 'got'}", *options, "127.0.0.1", str(port), "https://localhost/big"],
                capture_output=True, text=True, timeout=20, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert (tmp_path / "got" / "big").read_bytes() == (tmp_path / "files" / "big").read_bytes()
            (tmp_path / "got" / "big").unlink()

    @needs("chromium")
    def test_chromium(
        self, program: Start, free_port: Callable[[], int], certificates: Callable[..., Certificate], tmp_path: Path
    ) -> None:
        port, status = free_port(), free_port()
        certificate = certificates("localhost")
        known = x509.load_pem_x509_certificate(certificate.cert.read_bytes()).public_key()
        pin = b64encode(sha256(known.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()).decode()
        page = f"{REPORT} report(performance.getEntriesByType('navigation')[0].nextHopProtocol)</script>"
        made = config(port, status, page, logging={"format": "json"})
        made["listen"][0]["tls"] = certificate.config
        made["dispatch"][0] |= {"headers": {"Content-Type": "text/html"}}
        made["dispatch"].append({"handler": "respond", "path": "/report/**", "listener": "web", "body": ""})
        one = program(config=made)
        options = (f"--origin-to-force-quic-on=localhost:{port}", f"--ignore-certificate-errors-spki-list={pin}",
                   "--host-resolver-rules=MAP localhost 127.0.0.1")  # fmt: skip
        with browser(f"https://localhost:{port}/", tmp_path / "profile", *options):
            assert reports(one) == ["h3"]
