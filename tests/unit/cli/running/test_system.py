"""What the kernel says of processes and listeners."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from npserver.cli.running.system import add_system, connections, usage


def test_usage_of_this_process() -> None:
    cpu_s, memory = usage(f"/proc/{os.getpid()}")
    assert 0 < cpu_s < 10_000 and 1 << 20 < memory < 1 << 36


def test_a_name_with_spaces_and_parentheses(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("7 (a) b) S 1 1 1 0 -1 0 0 0 0 0 250 50 0 0 20 0 1 0 0 0 0\n")
    (tmp_path / "statm").write_text("1000 20 5 1 0 1 0\n")
    assert usage(str(tmp_path)) == (300 / os.sysconf("SC_CLK_TCK"), 20 * os.sysconf("SC_PAGE_SIZE"))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_established_connections_by_local_port(host: str) -> None:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as server:
        port = server.getsockname()[1]
        assert connections("/proc/self/net")[port] == 0
        with socket.create_connection((host, port)), server.accept()[0]:
            assert connections("/proc/self/net")[port] == 1


def test_what_cannot_be_read_is_missing(tmp_path: Path) -> None:
    state: dict[str, Any] = {
        "pid": 7,
        "processes": [{"pid": 7}, {"pid": 0}],
        "listeners": [{"port": 80, "is_stream": False}, {"port": 0, "is_stream": True}],
    }
    add_system(state, str(tmp_path))
    assert state["processes"] == [{"pid": 7}, {"pid": 0}]
    assert all("connections" not in one for one in state["listeners"])
