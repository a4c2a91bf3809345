"""Networks from files in the real program: all workers follow, and a worker that is replaced has those in force."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stage.countries import country, write_countries
from tests.stage.program import Program

CONNECTIONS = 24  # that many reach each of two workers, as the kernel chooses by the client's port


def answers(port: int, path: str) -> set[bytes]:
    """Return the different answers on many connections."""
    found = set()
    for _ in range(CONNECTIONS):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            client.sendall(f"GET {path} HTTP/1.0\r\nHost: a\r\n\r\n".encode())
            data = b""
            while piece := client.recv(65536):
                data += piece
        found.add(data.partition(b"\r\n\r\n")[2])
    return found


def test_all_workers_follow_and_a_new_one_knows(
    program: Callable[..., Program], free_port: Callable[[], int], tmp_path: Path
) -> None:
    port = free_port()
    listed, countries = tmp_path / "list.txt", tmp_path / "c.mmdb"
    listed.write_text("192.0.2.0/24\n")
    write_countries(countries, {"127.0.0.0/8": country("AT")})
    config = {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": 2,
        "networks": {
            "listed": {"file": str(listed)},
            "germany": {"mmdb": str(countries), "country": ["DE"]},
        },
        "dispatch": [
            {"path": "/listed", "handler": "respond", "body": "in", "from": "listed"},
            {"path": "/country", "handler": "respond", "body": "in", "from": "germany"},
            {"handler": "respond", "body": "out"},
        ],
    }
    running = program(config=config)
    running.wait_ready()
    assert answers(port, "/listed") == answers(port, "/country") == {b"out"}
    listed.write_text("127.0.0.1\n")
    write_countries(countries, {"127.0.0.0/8": country("DE")})
    for path in ("/listed", "/country"):
        running.wait_until(lambda path=path: answers(port, path) == {b"in"}, "the new networks in all workers")
    listed.write_text("nonsense\n")
    countries.write_bytes(b"nonsense")
    running.wait_for(r"line 1 is not a network: .nonsense.* stay in force \(networks\.listed\.file\)")
    running.wait_for(r"not a database .* stay in force \(networks\.germany\.mmdb\)")
    assert answers(port, "/listed") == answers(port, "/country") == {b"in"}
    workers = [pid for pid in running.children() if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(workers[0], signal.SIGKILL)
    running.wait_until(lambda: workers[0] not in running.children(), "the end of a worker")
    running.wait_until(lambda: len(running.children()) == 3, "another worker")
    assert answers(port, "/listed") == answers(port, "/country") == {b"in"}


@pytest.mark.parametrize("is_hidden", [False, True], ids=["the file", "its directory too"])
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_file_that_the_workers_may_not_read_is_the_same_for_all_until_a_reload(
    program: Callable[..., Program], free_port: Callable[[], int], tmp_path: Path, socket_dir: Path, is_hidden: bool
) -> None:
    port = free_port()
    directory = tmp_path if is_hidden else socket_dir  # pytest's own is root's alone
    socket_dir.chmod(0o755)
    listed, countries = directory / "list.txt", directory / "c.mmdb"
    listed.write_text("192.0.2.0/24\n")
    write_countries(countries, {"127.0.0.0/8": country("AT")})
    listed.chmod(0o600)
    countries.chmod(0o600)
    config = {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": 2,
        "user": "nobody",
        "networks": {"listed": {"file": str(listed)}, "austria": {"mmdb": str(countries), "country": ["AT"]}},
        "dispatch": [
            {"path": "/country", "handler": "respond", "body": "in", "from": "austria"},
            {"handler": "respond", "body": "in", "from": "listed"},
            {"handler": "respond", "body": "out"},
        ],
    }
    running = program(config=config)
    running.wait_ready()

    def replace_a_worker() -> None:
        workers = [pid for pid in running.children() if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(workers[0], signal.SIGKILL)
        running.wait_until(lambda: workers[0] not in running.children(), "the end of a worker")
        running.wait_until(lambda: len(running.children()) == 3, "another worker")

    assert (answers(port, "/"), answers(port, "/country")) == ({b"out"}, {b"in"})
    countries.write_bytes(b"nonsense")
    listed.write_text("127.0.0.1\n")
    if not is_hidden:
        running.wait_for(
            r"networks.listed: cannot read .*: permission denied: let the user of the server read it; .* stay"
        )
    replace_a_worker()
    assert (answers(port, "/"), answers(port, "/country")) == ({b"out"}, {b"in"})
    write_countries(countries, {"127.0.0.0/8": country("AT")})
    running.send_signal(signal.SIGHUP)
    running.wait_until(lambda: answers(port, "/") == {b"in"}, "the list as it is at the reload in all workers")
    replace_a_worker()
    assert (answers(port, "/"), answers(port, "/country")) == ({b"in"}, {b"in"})
