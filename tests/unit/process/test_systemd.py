"""The service manager's protocol. `tests/e2e/test_process_service.py` passes sockets to the program."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from npserver.process.systemd import inherited_sockets, notify


@pytest.mark.parametrize(
    ("pid", "count"), [("", ""), ("1", "1"), ("this process", ""), ("this process", "x"), ("this process", "0")]
)
def test_no_sockets_are_taken_that_were_not_passed(monkeypatch: pytest.MonkeyPatch, pid: str, count: str) -> None:
    monkeypatch.setenv("LISTEN_PID", pid.replace("this process", str(os.getpid())))
    monkeypatch.setenv("LISTEN_FDS", count)
    monkeypatch.setenv("LISTEN_FDNAMES", "web")
    assert inherited_sockets() == []
    assert not {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} & os.environ.keys(), "children get none of it"


def test_states_go_to_the_service_manager(monkeypatch: pytest.MonkeyPatch, socket_dir: Path) -> None:
    path = socket_dir / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        notify("READY=1", "STATUS=fine")
        assert manager.recv(1000) == b"READY=1\nSTATUS=fine"
        notify("RELOADING=1")
        reloading, _, moment = manager.recv(1000).decode().partition("\n")
        assert reloading == "RELOADING=1"
        assert int(moment.removeprefix("MONOTONIC_USEC=")) > 0


def test_an_abstract_socket_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"npserver-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        manager.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        notify("STOPPING=1")
        assert manager.recv(1000) == b"STOPPING=1"


@pytest.mark.parametrize("path", ["", "relative", "/nowhere/notify"])
def test_without_a_service_manager_nothing_is_said(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    notify("READY=1")
