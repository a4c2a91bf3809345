"""Ranges of ports: each port leads to the one at the same place of the target's range, over UDP and TCP.

Covers `port_range` with `listen.compile`, `program.assignment`, `forward.compile` and `process.limits`.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from npserver.cli.check import check
from npserver.errors import ConfigError
from tests.stage.ports import free_port
from tests.stage.program import ROOT, Program

Start = Callable[..., Program]
COUNT = 5


def free_range() -> int:
    """Return the first of several ports in a row that are free for TCP and UDP."""
    found = [free_port()]
    while len(found) < COUNT:
        port = free_port()
        found = [*found, port] if port == found[-1] + 1 else [port]
    return found[0]


def answering(first: int) -> Iterator[None]:
    """Answer over UDP and TCP at each port with the port, until the generator is closed."""
    sockets = []
    for port in range(first, first + COUNT):
        udp, tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.create_server(("127.0.0.1", port))
        udp.bind(("127.0.0.1", port))
        sockets += [udp, tcp]
        Thread(target=_serve_datagrams, args=(udp, port), daemon=True).start()
        Thread(target=_serve_connections, args=(tcp, port), daemon=True).start()
    try:
        yield
    finally:
        for one in sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()


def _serve_datagrams(udp: socket.socket, port: int) -> None:
    try:
        while True:
            data, client = udp.recvfrom(2048)
            if not client:
                return
            udp.sendto(b"%b by %d" % (data, port), client)
    except OSError:
        pass


def _serve_connections(tcp: socket.socket, port: int) -> None:
    try:
        while True:
            connection, _ = tcp.accept()
            with connection:
                connection.sendall(b"%b by %d" % (connection.recv(100), port))
    except OSError:
        pass


@pytest.fixture
def targets() -> Iterator[int]:
    first = free_range()
    yield from (first for _ in answering(first))


def ask(port: int, kind: socket.SocketKind) -> bytes:
    with socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(30)
        client.connect(("127.0.0.1", port))
        client.send(b"hello")
        return client.recv(100)


@pytest.mark.parametrize("workers", [0, 2])
def test_each_port_leads_to_the_one_at_the_same_place(program: Start, targets: int, workers: int) -> None:
    first, status = free_range(), free_port()
    span, to = f"{first}-{first + COUNT - 1}", f"{targets}-{targets + COUNT - 1}"
    config: dict[str, Any] = {
        "workers": workers,
        "listen": [{"name": "game", "uri": f"udp://127.0.0.1:{span}"}, f"tcp://127.0.0.1:{span}", f"http://127.0.0.1:{status}"],
        "dispatch": [
            {"listener": "game", "handler": "forward", "forward_to": f"udp://127.0.0.1:{to}"},
            {"listener": f"tcp://127.0.0.1:{span}", "handler": "forward", "forward_to": f"tcp://127.0.0.1:{to}"},
            {"handler": "status"},
        ],
    }  # fmt: skip
    last = first + COUNT - 1
    one = program(
        config=config, listens=[f"{kind}://127.0.0.1:{port}" for kind in ("udp", "tcp") for port in (first, last)]
    )
    one.wait_for("npserver 1")
    table = [line.split() for line in one.errors.splitlines() if "forward to" in line]
    assert table == [
        ["game", f"udp://127.0.0.1:{span}", "forward", "to", f"udp://127.0.0.1:{to}"],
        [f"tcp://127.0.0.1:{span}", "forward", "to", f"tcp://127.0.0.1:{to}"],
    ]
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        for offset in range(COUNT):
            assert ask(first + offset, kind) == b"hello by %d" % (targets + offset)
    metrics = httpx.get(f"http://127.0.0.1:{status}/status?format=prometheus", timeout=30).text
    series = [line for line in metrics.splitlines() if "requests_total" in line and f"udp://127.0.0.1:{to}" in line]
    assert len(series) == 1, "all ports are counted together"
    state = json.loads(said("status", "-json", directory=one.directory))
    assert [(found["uri"], found["ports"]) for found in state["listeners"]] == [
        (f"udp://127.0.0.1:{span}", COUNT), (f"tcp://127.0.0.1:{span}", COUNT), (f"http://127.0.0.1:{status}", 1)
    ]  # fmt: skip
    assert [found["uri"] for found in state["targets"]] == [f"{kind}://127.0.0.1:{to}" for kind in ("tcp", "udp")]

    def counted() -> list[int]:
        state = json.loads(said("status", "-json", directory=one.directory))
        return [found["requests"] for found in state["targets"]]

    one.wait_until(lambda: counted() == [COUNT, COUNT], "the requests of all ports")
    explained = said("explain", f"udp://127.0.0.1:{first + 2}", "-json", directory=one.directory)
    assert f"udp://127.0.0.1:{targets + 2}" in explained
    config["listen"][0]["uri"] = f"udp://127.0.0.1:{first + 1}-{first + 3}"
    config["dispatch"][0]["forward_to"] = f"udp://127.0.0.1:{targets}-{targets + 2}"
    one.configure(json.dumps(config))
    one.send_signal(signal.SIGHUP)
    one.wait_for("config reloaded")
    for offset in range(3):
        assert ask(first + 1 + offset, socket.SOCK_DGRAM) == b"hello by %d" % (targets + offset)
    one.stop()


def test_the_command_line_takes_ranges(program: Start, targets: int) -> None:
    first = free_range()
    span, to = f"{first}-{first + COUNT - 1}", f"{targets}-{targets + COUNT - 1}"
    one = program(
        f"udp://127.0.0.1:{span}", "-to", f"udp://127.0.0.1:{to}", listens=[f"udp://127.0.0.1:{first + COUNT - 1}"]
    )
    assert ask(first + 3, socket.SOCK_DGRAM) == b"hello by %d" % (targets + 3)
    one.stop()


def said(*words: str, directory: Path) -> str:
    """Return the output of a command about the program that runs in a directory."""
    return subprocess.run(
        [sys.executable, "-m", "npserver", *words, "-config", "npserver.json"],
        cwd=directory, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, timeout=30,
        check=True,
    ).stdout  # fmt: skip


FORWARD = {"handler": "forward", "forward_to": "udp://10.0.0.5:1-5"}


@pytest.mark.parametrize(
    ("listen", "rule", "message"),
    [
        (["udp://:11-14"], FORWARD, "5 ports in 'udp://10.0.0.5:1-5', and 4 in listener 'udp://:11-14': each port is"),
        (["udp://:11"], FORWARD, "5 ports in 'udp://10.0.0.5:1-5', and 1 in listener 'udp://:11'"),
        (["udp://:11-14", "udp://:13"], {**FORWARD, "forward_to": "udp://a:1"}, "port 13 bound twice: 'udp://:13'"),
        (["udp://:11-14", "udp://:12-20"], {**FORWARD, "forward_to": "udp://a:1"}, "port 12 bound twice"),
        (["udp://:15-11"], FORWARD, "the last port of a range is before the first: 'udp://:15-11'"),
        (["udp://:11-15"], {**FORWARD, "forward_to": "udp://a:5-1"}, "the last port of a range is before the first"),
        (["http://:11-15"], {"handler": "respond"}, "a range of ports is for tcp, udp, ssl, got 'http://:11-15'"),
    ],
)  # fmt: skip
def test_what_cannot_be_forwarded_is_told_once(tmp_path: Path, listen: list[str], rule: Any, message: str) -> None:
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"listen": listen, "dispatch": [rule]}))
    with pytest.raises(ConfigError) as caught:
        check(str(file))
    found = [one.message for one in caught.value.problems if "nothing to do" not in one.message]
    found = [one for one in found if "no tcp or udp listener" not in one and "never used" not in one]
    assert len(found) == 1, found
    assert message in found[0]


def test_more_sockets_than_files_may_be_open_are_refused(tmp_path: Path) -> None:
    config = {
        "workers": 3,
        "listen": ["http://127.0.0.1:80", "udp://127.0.0.1:1000-1999"],
        "dispatch": [{"handler": "forward", "forward_to": "udp://10.0.0.5:1"}],
    }
    (tmp_path / "c.json").write_text(json.dumps(config, indent=1))
    command = f"ulimit -n 3100; exec {shlex.quote(sys.executable)} -m npserver check c.json"
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True,
        text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        "c.json:5:3: 'udp://127.0.0.1:1000-1999' takes 1000 sockets for each of 3 workers, which the master has open "
        "together, and a process may have 3100 files open: raise the limit (LimitNOFILE of systemd), or have fewer "
        "workers or ports\n"
    )
