"""Logs and counters of the real program."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stage.backends import Backends
from tests.stage.program import Program

Start = Callable[..., Program]


def config(port: int, **logging: Any) -> dict[str, Any]:
    return {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": 2,
        "dispatch": [
            {"handler": "respond", "body": "hello"},
            {"handler": "status", "path": "/status", "allow": "127.0.0.1"},
        ],
        "logging": logging,
    }


def ask(port: int, count: int, path: str = "/") -> None:
    """Ask over a new connection each time, so that both workers are met."""
    for number in range(count):
        assert get(port, f"{path}?{number}")


def get(port: int, path: str, accept: str = "*/*") -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={"User-Agent": "test", "Accept": accept, "Connection": "close"})
        response = connection.getresponse()
        assert response.status == 200
        return response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_every_request_has_a_line(program: Start, free_port: Callable[[], int], workers: int) -> None:
    port = free_port()
    one = program(config={**config(port, format="combined"), "workers": workers})
    ask(port, 20)
    one.wait_until(lambda: one.output.count("GET /?") == 20, "20 lines")
    lines = [line for line in one.output.splitlines() if "GET" in line]
    form = re.compile(r'127\.0\.0\.1 - - \[[^]]+\] "GET /\?\d+ HTTP/1\.1" 200 5 "-" "test"')
    assert all(form.fullmatch(line) for line in lines)


def test_lines_are_not_lost_at_the_end(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    port = free_port()
    one = program(config=config(port, access_log="access.log", format="json"))
    ask(port, 10)
    one.stop()
    lines = (tmp_path / "access.log").read_text().splitlines()
    assert sorted(json.loads(line)["target"] for line in lines) == sorted(f"/?{number}" for number in range(10))


def test_sigusr1_reopens_rotated_logs(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    port = free_port()
    one = program(config=config(port, access_log="access.log"))
    file, old = tmp_path / "access.log", tmp_path / "access.log.1"
    ask(port, 10)
    file.rename(old)
    one.send_signal(signal.SIGUSR1)
    one.wait_until(file.exists, "a new file")
    one.wait_until(lambda: old.read_text().count("GET") == 10, "the first lines in the old file")

    def are_later_lines_in_the_new_file() -> bool:
        ask(port, 4, "/later")
        return file.read_text().count("/later") >= 8

    one.wait_until(are_later_lines_in_the_new_file, "lines in the new file")


def test_an_access_log_that_is_off_writes_nothing(program: Start, free_port: Callable[[], int]) -> None:
    port = free_port()
    one = program(config=config(port, access_log="off"))
    ask(port, 5)
    one.stop()
    assert "GET" not in one.output + one.errors


def test_a_reload_changes_the_form(program: Start, free_port: Callable[[], int]) -> None:
    port = free_port()
    one = program(config=config(port))
    one.configure(config(port, format="json"))
    one.send_signal(signal.SIGHUP)

    def is_json() -> bool:
        ask(port, 2)
        return '"type":"request"' in one.output

    one.wait_until(is_json, "JSON lines")


def test_a_closed_stdout_stops_nobody(program: Start, free_port: Callable[[], int]) -> None:
    port = free_port()
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    one = program(config=config(port, access_log="/dev/full"))
    ask(port, 5)
    one.wait_for(r"cannot write to the access log '/dev/full' \(logging\.access_log\), dropping lines")
    ask(port, 5)


def test_any_worker_counts_for_all(program: Start, free_port: Callable[[], int]) -> None:
    port = free_port()
    one = program(config=config(port, access_log="off"))
    ask(port, 25)

    def has_all() -> bool:
        metrics = get(port, "/status")
        found = re.search(r'^npserver_http_responses_total\{class="2xx"\} (\d+)$', metrics, re.MULTILINE)
        return found is not None and int(found[1]) >= 25

    one.wait_until(has_all, "what each worker has counted by its next sweep")
    for _ in range(5):
        assert has_all()
    page = get(port, "/status", "text/html")
    assert "<title>npserver</title>" in page
    one.wait_until(
        lambda: json.loads(get(port, "/status?format=json"))["metrics"]["npserver_http_requests_total"] >= 31,
        "the requests for the status itself",
    )


def test_sessions_and_queries_are_logged(program: Start, free_port: Callable[[], int], backends: Backends) -> None:
    tcp, dns = free_port(), free_port()
    one = program(
        config={
            "listen": [
                {"name": "in", "uri": f"tcp://127.0.0.1:{tcp}"},
                {"name": "dns", "uri": f"udp://127.0.0.1:{dns}"},
            ],
            "workers": 1,
            "dns": {"a.test": {"A": "192.0.2.1"}},
            "dispatch": [
                {"listener": "in", "handler": "forward", "forward_to": f"tcp://127.0.0.1:{backends.tcp_echo()}"},
                {"listener": "dns", "handler": "dns"},
            ],
            "logging": {"format": "json", "dns_queries": True},
        }
    )
    with socket.create_connection(("127.0.0.1", tcp)) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(30)
        client.connect(("127.0.0.1", dns))
        client.send(b"\0\1\1\0\0\1\0\0\0\0\0\0\1a\4test\0\0\1\0\1")
        assert client.recv(512)[:2] == b"\0\1"
    one.wait_until(lambda: '"session"' in one.output and '"query"' in one.output, "both lines")
    entries = {
        entry["type"]: entry for line in one.output.splitlines() if line[:1] == "{" for entry in [json.loads(line)]
    }
    assert entries["session"]["received_bytes"] == entries["session"]["sent_bytes"] == 5
    assert entries["query"]["name"].rstrip(".") == "a.test"
    assert entries["query"]["rcode"] == "NOERROR"


@pytest.mark.parametrize("gives_ids", [False, True])
def test_every_request_has_an_id_where_that_is_asked_for(
    program: Start, free_port: Callable[[], int], backends: Backends, gives_ids: bool
) -> None:
    """Also those answered from memory, passed on, or refused; on an error page it is the same."""
    port = free_port()
    text = config(port, format="json", request_ids=gives_ids)
    text["dispatch"].append({"handler": "proxy", "path": "/app", "proxy_pass": f"http://127.0.0.1:{backends.http()}"})
    text["dispatch"].append({"handler": "respond", "path": "/denied", "deny": "127.0.0.1"})
    one = program(config=text)
    get(port, "/")
    get(port, "/app")
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        client.sendall(b"GET /bad HTTP/9\r\n\r\n")
        assert client.recv(4096)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/denied", headers={"Accept": "application/json"})
    page = json.loads(connection.getresponse().read())
    connection.close()
    one.wait_until(lambda: one.output.count('"type":"request"') == 4, "four lines")
    entries = [json.loads(line) for line in one.output.splitlines()]
    ids = {entry["target"]: entry["request_id"] for entry in entries}
    if gives_ids:
        assert len(set(ids.values())) == 4
        assert all(re.fullmatch("[0-9a-f]{32}", one_id) for one_id in ids.values())
        assert page["request_id"] == ids["/denied"]
    else:
        assert set(ids.values()) == {""}
        assert "request_id" not in page
