"""A flood of UDP clients, each with an address and port of its own: descriptors bounded, memory flat, others served."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stage.asking import worker_pids
from tests.stage.program import Program

CLIENTS = 100_000
AT_ONCE = 50  # sent before what arrived at the target is read: twice as many fill half of a buffer of the kernel
SESSIONS = 50


def descriptors(pids: list[int]) -> int:
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)


def resident_kib(pids: list[int]) -> int:
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(re.findall(r"^VmRSS:\s+(\d+) kB", text, re.MULTILINE)[0]) for text in texts)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks at /proc, and needs all of 127.0.0.0/8")
def test_a_hundred_thousand_clients_leave_room_for_others(
    program: Callable[..., Program], free_port: Callable[[], int]
) -> None:
    """Each is a session of its own, as of so many source ports; the idlest of 50 makes room for it."""
    port = free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target:
        target.bind(("127.0.0.1", 0))
        target.settimeout(30)
        one = program(
            config={
                "workers": 2,
                "listen": [{"name": "game", "uri": f"udp://127.0.0.1:{port}"}],
                "logging": {"access_log": "off"},
                "dispatch": [
                    {
                        "listener": "game",
                        "handler": "forward",
                        "forward_to": f"udp://127.0.0.1:{target.getsockname()[1]}",
                        "max_connections": SESSIONS,
                    }
                ],
            }
        )
        one.wait_for("npserver 1")
        workers = worker_pids(one)
        most = before = descriptors(workers)
        early_kib = 0
        arrived: set[int] = set()
        for start in range(0, CLIENTS + AT_ONCE, AT_ONCE):
            for number in range(start, min(start + AT_ONCE, CLIENTS)):
                rest, low = divmod(number, 250)
                high, middle = divmod(rest, 250)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                    client.bind((f"127.{1 + high}.{middle}.{1 + low}", 0))
                    client.sendto(b"%d" % number, ("127.0.0.1", port))
            if start:  # those sent before, while these are on their way
                arrived.update(int(target.recv(100)) for _ in range(AT_ONCE))
            if start and not start % (CLIENTS // 5):
                most = max(most, descriptors(workers))
                early_kib = early_kib or resident_kib(workers)
        assert arrived == set(range(CLIENTS)), "a worker without sessions must not refuse clients"
        assert before < most <= before + SESSIONS * 3 // 2
        assert resident_kib(workers) < early_kib + 4096, "memory grows by more than 50 bytes a client"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(30)
            client.connect(("127.0.0.1", port))
            client.send(b"still there?")
            data, session = target.recvfrom(100)
            target.sendto(data + b" yes", session)
            assert client.recv(100) == b"still there? yes"
