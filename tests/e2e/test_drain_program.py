"""`npserver drain` in the real program: a target gets nothing new, nobody notices, and it is empty in the end.

Covers `cli.running.drain`, `cli.running.undrain`, `process.control.draining`, `process.control.drains`,
`process.control.published_drains` and `web.handlers.status.drains`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import dns.message
import dns.query
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.stage.asking import Background, get, worker_pids
from tests.stage.backends import Backends
from tests.stage.program import Program

Start = Callable[..., Program]
WORKERS = pytest.mark.parametrize("workers", [0, 2])


def named(port: int, path: str = "/") -> str:
    """Return the name of the target that answers."""
    return str(json.loads(get(port, path)[1])["name"])


class Load(Background):
    """Clients over kept connections, until the block ends: which targets have answered, and what went wrong."""

    def __init__(self, port: int, clients: int = 4) -> None:
        self.names: list[str] = []
        self.faults: list[str] = []
        super().__init__(*[partial(self._ask, port, number) for number in range(clients)])

    def _ask(self, port: int, number: int) -> None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        headers: dict[str, str] = {}
        with contextlib.closing(client):
            while not self.is_over.wait(0.02):
                try:
                    client.request("GET", "/", headers=headers)
                    answer = client.getresponse()
                    body = answer.read()
                except (OSError, http.client.HTTPException) as error:
                    self.faults.append(repr(error))
                    return
                if answer.status != 200:
                    self.faults.append(f"{answer.status} {body!r}")
                else:
                    self.names.append(json.loads(body)["name"])
                cookie = answer.getheader("Set-Cookie")
                if cookie is not None and number % 2:
                    headers["Cookie"] = cookie.partition(";")[0]


def proxying(port: int, workers: int, *targets: int, **upstream: Any) -> dict[str, Any]:
    return {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": workers,
        "upstreams": {"app": {"targets": [f"http://127.0.0.1:{one}" for one in targets], **upstream}},
        "dispatch": [
            {"handler": "status", "path": "/status"},
            {"handler": "proxy", "path": "/**", "proxy_pass": "upstream://app", "retries": 0},
        ],
    }


@WORKERS
def test_no_request_fails_and_the_target_gets_no_more(
    program: Start, backends: Backends, free_port: Callable[[], int], workers: int
) -> None:
    """Clients with sticky cookies move to the other target."""
    a, b, port = backends.http("a"), backends.http("b"), free_port()
    one = program(config=proxying(port, workers, a, b, sticky={}))
    one.wait_for("npserver 1")
    with Load(port) as load:
        one.wait_until(lambda: {"a", "b"} <= set(load.names[-40:]), "answers of both")
        status, said = one.command("drain", f"127.0.0.1:{a}")
        assert (status, said.splitlines()[-1]) == (0, "empty")
        before = len(load.names)
        one.wait_until(lambda: len(load.names) > before + 60, "more answers")
        assert set(load.names[before + 8 :]) == {"b"}
        told = json.loads(one.command("status", "-json")[1])["targets"]
        assert [target["is_draining"] for target in told] == [str(a) in target["uri"] for target in told]
        assert "draining" in one.command("status")[1]
        assert f'npserver_upstream_draining{{upstream="app",target="http://127.0.0.1:{a}"}} 1' in (
            get(port, "/status?format=prometheus")[1].decode()
        )
        assert "draining" in get(port, "/status?format=html")[1].decode()
        assert one.command("undrain", f"http://127.0.0.1:{a}") == (0, "gets requests again\n")
        before = len(load.names)
        one.wait_until(lambda: "a" in load.names[before:], "an answer of the target that is back")
    assert load.faults == []
    one.wait_for(rf"target http://127\.0\.0\.1:{a} of upstream app is drained \(npserver drain\)$")
    one.wait_for(rf"target http://127\.0\.0\.1:{a} of upstream app is drained and empty$")
    one.wait_for(rf"target http://127\.0\.0\.1:{a} of upstream app gets requests again \(npserver undrain\)$")


def between_websockets(
    program: Start, backends: Backends, free_port: Callable[[], int], workers: int
) -> tuple[int, int, Program]:
    """Return the port of the first of two targets, the server's, and the server."""
    a, b, port = backends.websocket_echo("a"), backends.websocket_echo("b"), free_port()
    one = program(config=proxying(port, workers, a, b))
    one.wait_for("npserver 1")
    return a, port, one


@WORKERS
def test_websockets_go_on_until_the_deadline(
    program: Start, backends: Backends, free_port: Callable[[], int], workers: int
) -> None:
    a, port, one = between_websockets(program, backends, free_port, workers)
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(connect(f"ws://127.0.0.1:{port}/")) for _ in range(8)]
        names = []
        for socket_ in opened:
            socket_.send("who")
            names.append(socket_.recv(20))
        assert set(names) == {"a", "b"}
        draining = stack.enter_context(one.begin_command("drain", "-wait", "2", f"127.0.0.1:{a}"))
        assert draining.stdout is not None
        assert draining.stdout.readline() == f"draining: {names.count('a')} requests and connections left\n"
        for socket_ in opened:
            socket_.send("still")
            assert socket_.recv(20) == "still"
        late = stack.enter_context(connect(f"ws://127.0.0.1:{port}/"))
        late.send("who")
        assert late.recv(20) == "b"
        assert draining.communicate(timeout=30)[0].splitlines()[-1] == "empty"
        assert draining.returncode == 0
        for socket_, name in zip(opened, names, strict=True):
            if name == "a":
                with pytest.raises(ConnectionClosed):
                    socket_.recv(20)
            else:
                socket_.send("still")
                assert socket_.recv(20) == "still"
    one.wait_for(rf"drain of target http://127\.0\.0\.1:{a}: \d+ connections ended \(-wait has passed\)")


@WORKERS
def test_the_log_tells_when_it_is_empty_without_being_asked(
    program: Start, backends: Backends, free_port: Callable[[], int], workers: int
) -> None:
    a, port, one = between_websockets(program, backends, free_port, workers)
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(connect(f"ws://127.0.0.1:{port}/"))
        for name in (f"127.0.0.1:{a}", f"127.0.0.1:{port}"):
            assert one.command("drain", "-no-wait", name)[0] == 0
        assert "and empty" not in one.errors
    one.wait_for(rf"target http://127\.0\.0\.1:{a} of upstream app is drained and empty$")
    one.wait_for(rf"listener http://127\.0\.0\.1:{port} is drained and empty$")


@WORKERS
def test_tcp_relays_and_udp_sessions(
    program: Start, backends: Backends, free_port: Callable[[], int], workers: int
) -> None:
    tcp, udp = [backends.tcp_echo() for _ in range(2)], [backends.udp_echo() for _ in range(2)]
    port, datagrams = free_port(), free_port()
    one = program(
        config={
            "listen": [f"tcp://127.0.0.1:{port}", f"udp://127.0.0.1:{datagrams}"],
            "workers": workers,
            "upstreams": {
                "streams": {"targets": [f"tcp://127.0.0.1:{number}" for number in tcp]},
                "datagrams": {"targets": [f"udp://127.0.0.1:{number}" for number in udp]},
            },
            "dispatch": [
                {"handler": "forward", "listener": f"tcp://127.0.0.1:{port}", "forward_to": "upstream://streams"},
                {
                    "handler": "forward",
                    "listener": f"udp://127.0.0.1:{datagrams}",
                    "forward_to": "upstream://datagrams",
                },
            ],
        }
    )
    one.wait_for("npserver 1")

    def active() -> dict[str, int]:
        return {target["uri"]: target["active"] for target in json.loads(one.command("status", "-json")[1])["targets"]}

    def speaks(client: socket.socket) -> bool:
        client.send(b"hello")
        return client.recv(100) == b"hello"

    with contextlib.ExitStack() as stack:
        relays = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 20)) for _ in range(8)]
        sessions = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(8)]
        for one_session in sessions:
            one_session.settimeout(20)
            one_session.connect(("127.0.0.1", datagrams))
        assert all(speaks(client) for client in relays + sessions)
        before = active()
        for scheme, number in (("tcp", tcp[0]), ("udp", udp[0])):
            assert one.command("drain", "-no-wait", f"{scheme}://127.0.0.1:{number}")[0] == 0
        assert all(speaks(client) for client in relays + sessions)  # those that are open go on
        more = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 20)) for _ in range(4)]
        assert all(speaks(client) for client in more)
        after = active()
        assert after[f"tcp://127.0.0.1:{tcp[0]}"] == before[f"tcp://127.0.0.1:{tcp[0]}"] > 0
        assert after[f"tcp://127.0.0.1:{tcp[1]}"] == before[f"tcp://127.0.0.1:{tcp[1]}"] + 4
        for scheme, number in (("tcp", tcp[0]), ("udp", udp[0])):
            done = one.command("drain", "-wait", "0", f"{scheme}://127.0.0.1:{number}")
            assert (done[0], done[1].splitlines()[-1]) == (0, "empty")
        assert all(speaks(client) for client in more + sessions)  # the next datagram opens a session elsewhere
        assert active()[f"udp://127.0.0.1:{udp[0]}"] == 0


@WORKERS
def test_dns_stops_naming_it(program: Start, free_port: Callable[[], int], workers: int) -> None:
    port = free_port()
    one = program(
        config={
            "listen": [f"udp://127.0.0.1:{port}"],
            "workers": workers,
            "upstreams": {"web": {"targets": ["http://192.0.2.1:80", "http://192.0.2.2:80"]}},
            "dispatch": [{"handler": "dns"}],
            "dns": {"www.home": {"A": "upstream://web"}},
        }
    )
    one.wait_for("npserver 1")

    def addresses() -> set[str]:
        answer = dns.query.udp(dns.message.make_query("www.home", "A"), "127.0.0.1", port=port, timeout=20)
        return {record.address for found in answer.answer for record in found}

    assert addresses() == {"192.0.2.1", "192.0.2.2"}
    with one.begin_command("drain", "192.0.2.1:80") as draining:
        one.wait_until(lambda: all(addresses() == {"192.0.2.2"} for _ in range(8)), "answers without the target")
        assert draining.poll() is None  # resolvers may know it for five seconds yet
        assert draining.communicate(timeout=30)[0].splitlines()[-1] == "empty"
    assert one.command("undrain", "192.0.2.1:80")[0] == 0
    one.wait_until(lambda: addresses() == {"192.0.2.1", "192.0.2.2"}, "answers with the target")


@WORKERS
def test_the_last_target_is_drained_by_force_only(
    program: Start, backends: Backends, free_port: Callable[[], int], workers: int
) -> None:
    a, port = backends.http("a"), free_port()
    one = program(config=proxying(port, workers, a))
    one.wait_for("npserver 1")
    assert named(port) == "a"
    status, said = one.command("drain", f"127.0.0.1:{a}")
    assert status == 1 and "is the last target of upstream app that can be used" in said and "-force" in said
    assert named(port) == "a"
    assert one.command("drain", "-force", f"127.0.0.1:{a}")[0] == 0
    assert {get(port)[0] for _ in range(8)} == {503}
    one.wait_for(r"\(1 of 1 drained: npserver undrain\)")
    assert one.command("undrain", f"127.0.0.1:{a}")[0] == 0
    one.wait_until(lambda: get(port)[0] == 200, "answers")


def test_both_targets_cannot_be_drained(program: Start, backends: Backends, free_port: Callable[[], int]) -> None:
    a, b, port = backends.http("a"), backends.http("b"), free_port()
    one = program(config=proxying(port, 2, a, b))
    one.wait_for("npserver 1")
    assert one.command("drain", f"127.0.0.1:{a}")[0] == 0
    assert one.command("drain", f"127.0.0.1:{b}")[0] == 1
    status, said = one.command("drain", "10.9.9.9:80")
    assert status == 1 and "the config has no target or listener '10.9.9.9:80'" in said
    assert one.command("undrain", f"127.0.0.1:{b}") == (1, f"npserver undrain: '127.0.0.1:{b}' is not drained\n")


def test_requests_wait_where_the_upstream_has_wait(
    program: Start, backends: Backends, free_port: Callable[[], int]
) -> None:
    a, port = backends.http("a"), free_port()
    one = program(config=proxying(port, 2, a, wait="20s"))
    one.wait_for("npserver 1")
    assert one.command("drain", f"127.0.0.1:{a}")[0] == 0
    with Load(port, 2) as load:
        one.wait_until(
            lambda: json.loads(get(port, "/status?format=json")[1])["metrics"].get("npserver_upstream_waiting"),
            "requests that wait",
        )
        assert load.names == []
        assert one.command("undrain", f"127.0.0.1:{a}")[0] == 0
        one.wait_until(lambda: "a" in load.names, "an answer")
    assert load.faults == []


def test_it_lasts_over_reloads_and_the_end_of_workers(
    program: Start, backends: Backends, free_port: Callable[[], int]
) -> None:
    a, b, port = backends.http("a"), backends.http("b"), free_port()
    one = program(config=proxying(port, 2, a, b))
    one.wait_for("npserver 1")
    assert one.command("drain", f"127.0.0.1:{a}")[0] == 0
    one.configure(proxying(port, 2, a, b, balance="random"))
    assert one.command("reload")[0] == 0
    assert {named(port) for _ in range(20)} == {"b"}
    victims = worker_pids(one)
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    one.wait_until(lambda: len(set(worker_pids(one)) - set(victims)) == 2, "new workers")
    assert {named(port) for _ in range(20)} == {"b"}
    one.configure(proxying(port, 2, b))
    assert one.command("reload")[0] == 0
    one.wait_for(rf"the drain of target http://127\.0\.0\.1:{a} has ended: the config does not name it")
    one.configure(proxying(port, 2, a, b))
    assert one.command("reload")[0] == 0
    one.wait_until(lambda: named(port) == "a", "answers of the target that is back")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["drain"], "expected one target or listener"),
        (["drain", "a", "b"], "expected one target or listener"),
        (["drain", "-wait", "soon", "a"], "-wait expects a number of seconds, got 'soon'"),
        (["undrain", "-wait", "1", "a"], "unknown option '-wait'"),
    ],
)
def test_invalid_usage(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    from npserver.cli import main

    assert main(words) == 2
    assert message in capsys.readouterr().err
