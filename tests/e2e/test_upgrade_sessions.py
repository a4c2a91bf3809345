"""UDP sessions over `npserver upgrade`: each client keeps its own.

Covers `listen.kept_clients`.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.stage.busy_sessions import BusySessions, EchoTarget
from tests.stage.program import Program
from tests.stage.upgrading import stop_successor, upgrade

Start = Callable[..., Program]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.mark.parametrize(
    ("listener", "client_of"), [("127.0.0.1", "127.0.0.1"), ("", "127.0.0.1"), ("", "::1"), ("[::1]", "::1")]
)
def test_udp_sessions_stay_with_the_old_workers(
    program: Start, free_port: Callable[[], int], listener: str, client_of: str
) -> None:
    """Also where the listener is for all addresses, by IPv6 and IPv4; a session that begins later is the new ones'."""
    port = free_port()
    family = socket.AF_INET6 if ":" in client_of else socket.AF_INET
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target,
        socket.socket(family, socket.SOCK_DGRAM) as client,
        socket.socket(family, socket.SOCK_DGRAM) as other,
    ):
        target.bind(("127.0.0.1", 0))
        uri = f"udp://{listener}:{port}"
        forward = {"handler": "forward", "listener": uri, "forward_to": f"udp://127.0.0.1:{target.getsockname()[1]}"}
        one = program(config={"listen": [uri], "workers": 2, "dispatch": [forward]}, listens=[])
        one.wait_for("npserver 1")
        for sock in (target, client, other):
            sock.settimeout(30)
        for sock in (client, other):
            sock.connect((client_of, port))

        def exchange(sock: socket.socket) -> Any:
            """Return the address by which the session reaches the target."""
            sock.send(b"question")
            data, session = target.recvfrom(100)
            assert data == b"question"
            target.sendto(b"answer", session)
            assert sock.recv(100) == b"answer"
            return session

        first = exchange(client)
        pid, _ = upgrade(one)
        assert [exchange(client) for _ in range(3)] == [first] * 3
        later = exchange(other)
        one.send_signal(signal.SIGTERM)
        one.wait_exit()
        assert exchange(client) != first
        assert exchange(other) == later
        stop_successor(pid)


@pytest.mark.parametrize(
    ("listener", "client_of", "workers", "more"),
    [
        ("127.0.0.1", "127.0.0.1", 1, {}),
        ("127.0.0.1", "127.0.0.1", 2, {}),
        ("", "127.0.0.1", 2, {}),
        ("[::1]", "::1", 2, {}),
        pytest.param("127.0.0.1", "127.0.0.1", 2, {"user": "nobody"}, marks=needs_root),
        pytest.param("", "::1", 2, {"user": "nobody"}, marks=needs_root),
    ],
)
def test_no_session_of_many_is_replaced_while_it_is_busy(
    program: Start, free_port: Callable[[], int], listener: str, client_of: str, workers: int, more: dict[str, Any]
) -> None:
    """Each of them sends at each moment of an upgrade: none reaches the new program, or another worker."""
    port = free_port()
    uri = f"udp://{listener}:{port}"
    config: dict[str, Any] = {"listen": [uri], **more}
    with EchoTarget() as target:
        config["dispatch"] = [
            {"handler": "forward", "listener": uri, "forward_to": f"udp://127.0.0.1:{target.port}"},
        ]
        one = program(config={**config, "workers": workers}, listens=[])
        one.wait_for("npserver 1")
        for number in range(int(os.environ.get("NPSERVER_UPGRADES", 2))):
            one.configure({**config, "workers": workers + (number + 1) % 2})
            with BusySessions((client_of, port), 60) as sessions:
                one.wait_until(lambda: sessions.exchanges > 600, "exchanges")
                pid, _ = upgrade(one)
                before = sessions.exchanges
                one.wait_until(lambda: sessions.exchanges > before + 600, "more exchanges")  # noqa: B023
            assert (sessions.replaced, sessions.unanswered) == ([], 0)
    stop_successor(pid)
    one.kill()  # it waits for sessions, which have no end
