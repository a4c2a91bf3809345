"""`npserver upgrade`: another program takes over the sockets, and nothing is lost; one that fails changes nothing.

Covers `cli.upgrade`, `process.upgrade.upgrader`, `process.upgrade.predecessor`, `process.upgrade.succession`
and `process.upgrade.handed_sockets`.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.stage.asking import SlowUpstream, get, refuses
from tests.stage.backends import Backends
from tests.stage.http3 import Client
from tests.stage.program import ROOT, Program
from tests.stage.upgrading import descriptors, stop_successor, tree, upgrade, wait_gone

Start = Callable[..., Program]


def saying(word: str, *ports: int, **extra: Any) -> dict[str, Any]:
    """A config that answers a word on these ports."""
    return {
        "listen": [f"http://127.0.0.1:{port}" for port in ports],
        "workers": 2,
        "dispatch": [{"handler": "respond", "body": word}],
        **extra,
    }


def test_old_connections_end_in_their_time(program: Start, free_port: Callable[[], int], backends: Backends) -> None:
    """The old workers serve them; the new ones take all that begins."""
    port, tcp, udp = free_port(), free_port(), free_port()
    config = saying("old", port)
    config["listen"] += [f"tcp://127.0.0.1:{tcp}", f"udp://127.0.0.1:{udp}"]
    config["dispatch"][:0] = [
        {
            "handler": "forward",
            "listener": f"tcp://127.0.0.1:{tcp}",
            "forward_to": f"tcp://127.0.0.1:{backends.tcp_echo()}",
        },
        {
            "handler": "forward",
            "listener": f"udp://127.0.0.1:{udp}",
            "forward_to": f"udp://127.0.0.1:{backends.udp_echo()}",
        },
        {"handler": "proxy", "path": "/ws", "proxy_pass": f"http://127.0.0.1:{backends.websocket_echo()}"},
    ]
    one = program(config=config)
    websocket = connect(f"ws://127.0.0.1:{port}/ws", legacy=True)
    relay = socket.create_connection(("127.0.0.1", tcp), 30)
    session = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    session.settimeout(30)
    session.connect(("127.0.0.1", udp))
    idle = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def use_all() -> None:
        websocket.send("who")
        assert websocket.recv() == "ws"
        relay.sendall(b"hello")
        assert relay.recv(100) == b"hello"
        session.send(b"datagram")
        assert session.recv(100) == b"datagram"

    use_all()
    idle.request("GET", "/")
    assert idle.getresponse().read() == b"old"
    config["dispatch"][-1]["body"] = "new"
    one.configure(config)
    pid, printed = upgrade(one)
    assert printed == f"upgraded: process {pid} serves\n"
    assert get(port) == (200, b"new")
    use_all()
    idle.request("GET", "/")
    response = idle.getresponse()
    assert (response.read(), response.getheader("Connection")) == (b"old", "close")
    assert one.process.poll() is None
    websocket.close()
    relay.close()
    one.send_signal(signal.SIGTERM)  # the session has no end: the old program is told not to wait
    assert one.wait_exit() in (0, 128 + signal.SIGTERM)
    session.send(b"datagram")
    assert session.recv(100) == b"datagram"
    assert get(port) == (200, b"new")
    stop_successor(pid)
    assert refuses(port)
    session.close()
    idle.close()


async def test_http3_connections_stay_with_the_old_workers(program: Start, free_port: Callable[[], int]) -> None:
    """The kernel gives their datagrams to the old workers, those of all others to the new ones."""
    port, slow = free_port(), SlowUpstream()
    config: dict[str, Any] = {
        "workers": 2,
        "listen": [{"uri": f"https://127.0.0.1:{port}", "http3": True, "tls": "internal"}],
        "dispatch": [
            {"handler": "proxy", "path": "/slow", "proxy_pass": f"http://127.0.0.1:{slow.port}"},
            {"handler": "respond", "body": "old"},
        ],
    }
    one = program(config=config)
    clients = [Client(port) for _ in range(6)]
    for client in clients:
        await client.connect()
        assert (await client.request()).body == b"old"
    waiting = asyncio.create_task(clients[0].request(path="/slow"))
    await asyncio.to_thread(slow.take_request)
    config["dispatch"][1]["body"] = "new"
    one.configure(config)
    pid, _ = await asyncio.to_thread(upgrade, one)
    slow.answer(b"worth waiting for")
    assert (await waiting).body == b"worth waiting for"
    for client in clients[1:]:
        assert (await client.request()).body == b"old"
    for _ in range(8):
        new = Client(port)
        await new.connect()
        assert (await new.request()).body == b"new"
        new.leave()
        new.close()
    for client in clients:
        client.leave()
        client.close()
    await asyncio.to_thread(one.wait_exit)
    await asyncio.to_thread(stop_successor, pid)
    slow.close()


class TestFailures:
    @pytest.fixture
    def old(self, program: Start, free_port: Callable[[], int]) -> Iterator[tuple[Program, int]]:
        port = free_port()
        one = program(config=saying("old", port))
        assert get(port) == (200, b"old")
        one.wait_until(lambda: len(one.children()) == 3, "two workers and the controller")
        children = set(one.children())
        yield one, port
        assert get(port) == (200, b"old")
        assert set(one.children()) == children, "the same processes, and none left of the other program"
        one.stop()

    def test_a_config_with_errors(self, old: tuple[Program, int]) -> None:
        one, _ = old
        one.configure('{"listen": ["http://127.0.0.1:1"], "workers": 2, "wrong": 1}')
        _, printed = upgrade(one, fails=True)
        assert "unknown key 'wrong'" in printed
        one.wait_for_new("upgrade failed, this program goes on: .*unknown key 'wrong'")

    def test_a_port_that_another_program_has(self, old: tuple[Program, int], free_port: Callable[[], int]) -> None:
        one, port = old
        with socket.create_server(("127.0.0.1", 0)) as taken:
            one.configure(saying("new", port, taken.getsockname()[1]))
            assert "is in use" in upgrade(one, fails=True)[1]

    def test_one_process(self, old: tuple[Program, int]) -> None:
        one, port = old
        one.configure(saying("new", port, workers=0))
        assert "an upgrade needs workers" in upgrade(one, fails=True)[1]


def launched_by(tmp_path: Path, script: str) -> tuple[dict[str, str], Path]:
    """Return the environment of a program that seems to be started by a launcher, which is `script` by now."""
    launcher = tmp_path / "launcher"
    launcher.write_text(f"#!/bin/sh\n{script}\n")
    launcher.chmod(launcher.stat().st_mode | stat.S_IXUSR)
    return {"NPSERVER_LAUNCHER": str(launcher)}, launcher


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 3", "ended with exit status 3"),
        ("kill -SEGV $$", "ended by signal 11"),
        ("exec sleep 100", "not ready within 1 s"),
    ],
)
def test_a_program_that_does_not_become_ready(
    program: Start, free_port: Callable[[], int], tmp_path: Path, script: str, message: str
) -> None:
    port = free_port()
    environment, launcher = launched_by(tmp_path, script)
    one = program(config=saying("old", port), env=environment)
    one.wait_for("npserver 1")
    _, printed = upgrade(one, "-within", "1" if "sleep" in script else "20", fails=True)
    assert message in printed
    assert len(printed.splitlines()) == 1
    assert get(port) == (200, b"old")
    launcher.unlink()
    assert "cannot be started" in upgrade(one, fails=True)[1]


def test_one_upgrade_at_a_time(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    port = free_port()
    environment, _ = launched_by(tmp_path, "echo begun >&2; exec sleep 100")
    one = program(config=saying("old", port), env=environment)
    one.wait_for("npserver 1")
    command = [sys.executable, "-m", "npserver", "upgrade", "-config", str(one.config_file), "-within", "30"]
    first = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, stderr=subprocess.PIPE, text=True
    )
    one.wait_for("begun")
    assert "an upgrade is in progress" in upgrade(one, fails=True)[1]
    one.stop()
    assert "the server is stopping" in first.communicate(timeout=30)[1]


def test_a_single_process_refuses(program: Start, free_port: Callable[[], int]) -> None:
    one = program(config=saying("old", free_port(), workers=0))
    one.wait_for("npserver 1")
    assert "restart npserver" in upgrade(one, fails=True)[1]


def test_no_server(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "npserver", "upgrade", "-config", str(tmp_path / "none.json")],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no running server uses the config" in done.stderr


def test_it_can_be_repeated(program: Start, free_port: Callable[[], int], socket_dir: Path, tmp_path: Path) -> None:
    """With other listeners and numbers of workers; no descriptor is left, pid file and control socket go along."""
    port, other, path, pidfile = free_port(), free_port(), socket_dir / "s", tmp_path / "pid"
    config = saying("0", port)
    config["listen"].append(f"unix://{path}")
    one = program("-pidfile", str(pidfile), config=config)
    one.wait_for("npserver 1")
    pid, counts = one.process.pid, []
    for number, workers in enumerate([3, 1, 2, 2, *[2, 2] * int(os.environ.get("NPSERVER_UPGRADES", 1))], 1):
        config["workers"], config["dispatch"][-1]["body"] = workers, str(number)
        config["listen"] = [f"http://127.0.0.1:{port}", f"unix://{path}"]
        if number % 2:
            config["listen"].append(f"http://127.0.0.1:{other}")
        one.configure(config)
        last, (pid, _) = pid, upgrade(one)
        wait_gone(last)
        counts.append(descriptors(pid))
        assert pidfile.read_text() == f"{pid}\n"
        assert len(tree(pid)) == workers + 2
        for _ in range(8):
            assert get(port) == (200, str(number).encode())
        assert path.is_socket()
        assert refuses(other) == (number % 2 == 0)
    one.wait_until(lambda: descriptors(pid) == counts[3], f"the descriptors {counts[3]}, not {counts[-1]}")
    stop_successor(pid)
    one.wait_exit()  # a signal would end it before its time
    assert not path.exists()
    assert not pidfile.exists()


def test_the_service_manager_is_told(program: Start, free_port: Callable[[], int]) -> None:
    """Type=notify: the main process is another one, and the old one does not say that the service stops."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind("")
        notified.settimeout(30)
        name = notified.getsockname()
        one = program(config=saying("old", free_port()), env={"NOTIFY_SOCKET": "@" + name[1:].decode()})
        assert notified.recv(1000) == f"READY=1\nMAINPID={one.process.pid}".encode()
        pid, _ = upgrade(one)
        for _ in range(2):  # by the old one, from which the manager takes it, and by the new one
            assert notified.recv(1000) == f"READY=1\nMAINPID={pid}".encode()
        one.wait_exit()
        stop_successor(pid)
        assert notified.recv(1000) == b"STOPPING=1"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_children_of_another_user(program: Start, free_port: Callable[[], int]) -> None:
    port = free_port()
    one = program(config=saying("old", port, user="nobody"))
    one.wait_for("npserver 1")
    pid, _ = upgrade(one)
    assert get(port) == (200, b"old")
    for child in tree(pid)[1:]:
        assert re.search(r"^Uid:\t65534", Path(f"/proc/{child}/status").read_text(), re.MULTILINE)
    stop_successor(pid)
    one.wait_exit()  # a signal would end it before its time
