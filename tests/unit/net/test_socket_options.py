"""Options of sockets."""

from __future__ import annotations

import socket

import pytest

from npserver.net import poller as poller_module
from npserver.net.socket_options import tune

pytestmark = pytest.mark.skipif(not poller_module.IS_POSSIBLE, reason="epoll is Linux's")


@pytest.mark.parametrize(("host", "is_unpaced"), [("127.0.0.1", True), ("::1", True), ("0.0.0.0", False)])
def test_connections_within_the_machine_are_not_paced(
    host: str, is_unpaced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("npserver.net.socket_options._is_paced", lambda _sock: True)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        before = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        tune(sock, host)
        after = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        assert after.rstrip(b"\0") == b"reno" if is_unpaced else after == before
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
