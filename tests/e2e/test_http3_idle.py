"""Many idle HTTP/3 connections: what each costs, that closed ones leave nothing, and that a stop ends all of them.

`NPSERVER_IDLE=10000` makes the long form of it; with `-s` it prints what it measures.
"""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aioquic.h3.connection import H3Connection
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import HandshakeCompleted

from tests.stage.asking import get, worker_pids
from tests.stage.program import Program

CONNECTIONS = int(os.environ.get("NPSERVER_IDLE", "400"))
ON_A_SOCKET = AT_ONCE = 50
MAX_BYTES = 64 << 10  # of the worker's memory for each connection
GROWTH = 1.25  # of that memory, when as many connections as were closed are opened again
DEADLINE_S = 30.0
QUIET_S = 0.01  # without a datagram: the server has said everything


class IdleClient:
    """Connections whose state is forgotten after their first answer; the datagram that closes each is kept."""

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._sockets: list[socket.socket] = []
        self._closing: list[tuple[socket.socket, bytes]] = []

    def open(self, count: int) -> None:
        """Open so many connections, each with a request and its answer."""
        for number in range(count):
            if number % ON_A_SOCKET == 0:
                made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                made.bind(("127.0.0.1", 0))
                made.setblocking(False)
                self._sockets.append(made)
            self._closing.append((self._sockets[-1], self._open_one(self._sockets[-1])))

    def close_some(self, count: int) -> None:
        """Close connections, with a datagram for each."""
        closing, self._closing = self._closing[:count], self._closing[count:]
        for sock, datagram in closing:
            sock.sendto(datagram, self._server)

    def count_received(self) -> int:
        """Return how many datagrams have come that were not read yet."""
        found = 0
        for sock in self._sockets:
            while select.select([sock], [], [], 0)[0]:
                sock.recvfrom(65536)
                found += 1
        return found

    def end(self) -> None:
        """Close the sockets."""
        for sock in self._sockets:
            sock.close()

    def _open_one(self, sock: socket.socket) -> bytes:
        quic = QuicConnection(
            configuration=QuicConfiguration(
                is_client=True, alpn_protocols=["h3"], verify_mode=ssl.CERT_NONE, server_name="localhost",
                idle_timeout=7200.0,
            )
        )  # fmt: skip
        quic._ack_delay = 0.0  # nothing is left that the server would send again
        http = H3Connection(quic)
        quic.connect(self._server, time.monotonic())
        has_answer, end = False, time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            self._send(quic, sock)
            at = quic.get_timer() or end
            wait_s = QUIET_S if has_answer else max(0.0, at - time.monotonic())
            if select.select([sock], [], [], wait_s)[0]:
                quic.receive_datagram(sock.recvfrom(65536)[0], self._server, time.monotonic())
            elif has_answer:
                break
            else:
                quic.handle_timer(time.monotonic())
            has_answer = self._take_events(quic, http) or has_answer
        assert has_answer, "no answer"
        quic.handle_timer(time.monotonic() + 0.1)  # acknowledge what is left
        self._send(quic, sock)
        quic.close(error_code=0x100)
        datagram, _ = quic.datagrams_to_send(time.monotonic())[0]
        return datagram

    def _take_events(self, quic: QuicConnection, http: H3Connection) -> bool:
        has_answer = False
        while (event := quic.next_event()) is not None:
            if isinstance(event, HandshakeCompleted):
                head = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")]
                http.send_headers(0, [(name.encode(), value.encode()) for name, value in head], end_stream=True)
            has_answer = any(getattr(one, "stream_ended", False) for one in http.handle_event(event)) or has_answer
        return has_answer

    def _send(self, quic: QuicConnection, sock: socket.socket) -> None:
        for datagram, _ in quic.datagrams_to_send(time.monotonic()):
            sock.sendto(datagram, self._server)


def config(port: int, status: int) -> dict[str, Any]:
    return {
        "workers": 1,
        "timeouts": {"idle": 7200, "max_connections_per_ip": 0},
        "limits": {"max_connections": 2 * CONNECTIONS + 10},
        "logging": {"access_log": "off"},
        "listen": [
            {"uri": f"https://127.0.0.1:{port}", "name": "web", "http3": True, "tls": "internal"},
            {"uri": f"http://127.0.0.1:{status}", "name": "status"},
        ],
        "dispatch": [
            {"handler": "respond", "path": "/", "listener": "web", "body": "hello"},
            {"handler": "status", "path": "/**", "listener": "status"},
        ],
    }


def count_open(port: int) -> int:
    text = get(port, "/?format=prometheus")[1].decode()
    found = re.search(r"^npserver_quic_connections (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0


def resident_bytes(pid: int) -> int:
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) << 10


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks at /proc")
@pytest.mark.timeout(60 + CONNECTIONS // 10)
def test_idle_connections(program: Callable[..., Program], free_port: Callable[[], int]) -> None:
    port, status = free_port(), free_port()
    one = program(config=config(port, status))
    one.wait_for("npserver 1")
    (pid,) = worker_pids(one)
    client, before, begun_s = IdleClient(port), resident_bytes(pid), cpu_s(pid)
    try:
        client.open(CONNECTIONS)
        assert count_open(status) == CONNECTIONS
        full = resident_bytes(pid)
        each = (full - before) / CONNECTIONS
        print(f"\n{CONNECTIONS} connections: {each:.0f} bytes each, {cpu_s(pid) - begun_s:.2f} s of CPU to open")
        assert each < MAX_BYTES
        for left in range(CONNECTIONS - AT_ONCE, CONNECTIONS // 2 - 1, -AT_ONCE):
            client.close_some(AT_ONCE)
            one.wait_until(lambda left=left: count_open(status) == left, "the end of some of them")  # type: ignore[misc]
        client.open(CONNECTIONS // 2)
        print(f"half of them closed and opened again: {(resident_bytes(pid) - full) / CONNECTIONS:.0f} bytes more each")
        assert resident_bytes(pid) - before < GROWTH * (full - before)
        client.count_received()
        one.send_signal(signal.SIGTERM)
        assert one.wait_exit() == 0
        assert "Traceback" not in one.errors
        assert client.count_received() >= CONNECTIONS, "each is told that its connection is closed"
    finally:
        client.end()
