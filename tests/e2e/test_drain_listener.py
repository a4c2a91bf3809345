"""`npserver drain LISTENER` in the real program: no new clients, present ones end in order, and `undrain` undoes it.

Covers `process.control.listener_drains` and `listen.drains`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from npserver.process.control.client import ask
from tests.stage.asking import Background, SlowUpstream, get, refuses, worker_pids
from tests.stage.backends import Backends
from tests.stage.draining import EVERYWHERE, Start, answer_of, kept_client, last, serving, start
from tests.stage.program import ROOT


def to(target: int, path: str) -> dict[str, Any]:
    """Return a rule for a path."""
    return {"handler": "proxy", "path": path, "proxy_pass": f"http://127.0.0.1:{target}"}


class TestHttp:
    @EVERYWHERE
    def test_requests_end_and_new_clients_are_refused(
        self, program: Start, free_port: Callable[[], int], slow: SlowUpstream, loop: str, workers: int
    ) -> None:
        port, other = free_port(), free_port()
        one = start(program, serving(port, other, workers, to(slow.port, "/slow")), loop)
        with kept_client(port) as busy, kept_client(port) as used, kept_client(port) as idle:
            busy.request("GET", "/slow")
            slow.take_request()
            with one.begin_command("drain", "web") as draining:
                assert draining.stdout is not None
                assert draining.stdout.readline() == "draining: 3 requests and connections left\n"
                assert refuses(port)
                assert get(other)[0] == 200
                assert answer_of(used) == (200, "close")
                slow.answer(b"at last")
                answer = busy.getresponse()
                assert (answer.status, answer.read(), answer.getheader("Connection")) == (200, b"at last", "close")
                assert draining.communicate(timeout=30)[0].splitlines()[-1] == "empty"
                assert draining.returncode == 0
            assert idle.sock is not None and idle.sock.recv(10) == b""  # closed after a while
        listeners = json.loads(one.command("status", "-json")[1])["listeners"]
        assert [listener["is_drained"] for listener in listeners] == [True, False]
        assert "drained" in one.command("status")[1]
        page = get(other, "/status?format=prometheus")[1].decode()
        assert f'npserver_listener_draining{{listener="http://127.0.0.1:{port}"}} 1\n' in page
        assert f"web http://127.0.0.1:{port} (drained)" in get(other, "/status?format=html")[1].decode()
        assert one.command("undrain", "web") == (0, "takes clients again\n")
        assert [get(port)[0] for _ in range(8)] == [200] * 8
        with kept_client(port) as client:
            assert answer_of(client) == (200, None)
        assert "npserver_listener_draining" not in get(other, "/status?format=prometheus")[1].decode()
        for end in ("drained (npserver drain)", "drained and empty", "takes clients again (npserver undrain)"):
            assert f"listener web {'' if end.startswith('takes') else 'is '}{end}" in one.errors

    @EVERYWHERE
    def test_no_client_that_goes_on_to_another_server_sees_an_error(
        self, program: Start, free_port: Callable[[], int], loop: str, workers: int
    ) -> None:
        """Clients that ask the second listener when the first one refuses, as load balancers do."""
        port, other = free_port(), free_port()
        one = start(program, serving(port, other, workers), loop)
        with Balanced(port, other) as load:
            for _ in range(3):
                one.wait_until(lambda: load.asked[-20:].count(port) == 20, "answers of the first listener")
                assert last(one.command("drain", f"http://127.0.0.1:{port}")) == (0, "empty")
                one.wait_until(lambda: load.asked[-20:].count(other) == 20, "answers of the other listener")
                assert one.command("undrain", f"127.0.0.1:{port}")[0] == 0
        assert load.faults == []

    @EVERYWHERE
    def test_who_takes_it_back_at_once_refuses_nobody(
        self, program: Start, free_port: Callable[[], int], loop: str, workers: int
    ) -> None:
        """The workers may still be busy with the drain."""
        port, other = free_port(), free_port()
        one = start(program, serving(port, other, workers), loop)
        config = str(one.config_file)
        assert ask(config, "drain", target="web").errors == []
        assert ask(config, "undrain", target="web").errors == []
        end = time.monotonic() + 1.0  # they have followed by then
        while time.monotonic() < end:
            assert get(port)[0] == 200

    @EVERYWHERE
    def test_websockets_go_on_until_the_deadline(
        self, program: Start, backends: Backends, free_port: Callable[[], int], loop: str, workers: int
    ) -> None:
        port, other, target = free_port(), free_port(), backends.websocket_echo()
        one = start(program, serving(port, other, workers, to(target, "/ws")), loop)
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(connect(f"ws://127.0.0.1:{port}/ws")) for _ in range(4)]
            kept = stack.enter_context(connect(f"ws://127.0.0.1:{other}/ws"))
            draining = stack.enter_context(one.begin_command("drain", "-wait", "2", "web"))
            assert draining.stdout is not None
            assert draining.stdout.readline() == "draining: 4 requests and connections left\n"
            for client in [*opened, kept]:
                client.send("still")
                assert client.recv(20) == "still"
            assert draining.communicate(timeout=30)[0].splitlines()[-1] == "empty"
            for client in opened:
                with pytest.raises(ConnectionClosed):
                    client.recv(20)
            kept.send("still")
            assert kept.recv(20) == "still"
        one.wait_for(r"drain of listener web: \d+ connections ended \(-wait has passed\)")

    @EVERYWHERE
    def test_wait_ends_requests_in_progress(
        self, program: Start, free_port: Callable[[], int], slow: SlowUpstream, loop: str, workers: int
    ) -> None:
        port, other = free_port(), free_port()
        one = start(program, serving(port, other, workers, to(slow.port, "/slow")), loop)
        with kept_client(port) as busy:
            busy.request("GET", "/slow")
            slow.take_request()
            assert last(one.command("drain", "-wait", "1", "web")) == (0, "empty")
            with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
                busy.getresponse()


class Balanced(Background):
    """Clients over kept connections that ask one port, and another if that refuses, until the block ends."""

    def __init__(self, first: int, second: int, clients: int = 4) -> None:
        self.asked: list[int] = []
        self.faults: list[str] = []
        self._ports = (first, second)
        super().__init__(*[self._ask] * clients)

    def _ask(self) -> None:
        kept: dict[int, http.client.HTTPConnection] = {}
        while not self.is_over.wait(0.01):
            for port in self._ports:
                client = kept.setdefault(port, http.client.HTTPConnection("127.0.0.1", port, timeout=20))
                try:
                    if client.sock is None:
                        client.connect()
                except ConnectionRefusedError:
                    continue
                try:
                    assert answer_of(client)[0] == 200
                    self.asked.append(port)
                except (OSError, AssertionError, http.client.HTTPException) as error:
                    self.faults.append(repr(error))
                    client.close()
                break
        for client in kept.values():
            client.close()


class TestItLasts:
    @EVERYWHERE
    def test_over_reloads_and_the_end_of_workers(
        self, program: Start, free_port: Callable[[], int], loop: str, workers: int
    ) -> None:
        port, other = free_port(), free_port()
        one = start(program, serving(port, other, workers), loop)
        assert one.command("drain", "web")[0] == 0
        one.configure(serving(port, other, workers, backlog=77))
        assert one.command("reload")[0] == 0
        assert refuses(port)
        special = {"handler": "respond", "path": "/x", "match": {"header": {"X": "1"}}}
        one.configure(serving(port, other, workers, special))  # another kind of front
        assert one.command("reload")[0] == 0
        assert refuses(port)
        victims = worker_pids(one) if workers else []
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        one.wait_until(lambda: not workers or len(set(worker_pids(one)) - set(victims)) == workers, "new workers")
        assert last(one.command("drain", "web")) == (0, "empty")
        assert refuses(port)
        assert get(other)[0] == 200
        assert one.command("undrain", "web")[0] == 0
        assert [get(port)[0] for _ in range(8)] == [200] * 8

    @EVERYWHERE
    def test_a_server_may_end_while_it_begins(
        self, program: Start, free_port: Callable[[], int], loop: str, workers: int
    ) -> None:
        port, other = free_port(), free_port()
        one = start(program, serving(port, other, workers, timeouts={"shutdown": 0}), loop)
        assert one.command("drain", "-no-wait", "web")[0] == 0
        one.stop()
        assert "destroyed" not in one.errors

    def test_until_the_config_does_not_name_it(self, program: Start, free_port: Callable[[], int]) -> None:
        port, other = free_port(), free_port()
        one = start(program, serving(port, other, 2))
        assert one.command("drain", "web")[0] == 0
        without = serving(port, other, 2)
        del without["listen"][0]
        one.configure(without)
        assert one.command("reload")[0] == 0
        one.wait_for(rf"the drain of listener http://127\.0\.0\.1:{port} has ended: the config does not name it")
        one.configure(serving(port, other, 2))
        assert one.command("reload")[0] == 0
        assert get(port)[0] == 200

    @pytest.mark.parametrize("workers", [0, 2])
    def test_who_waits_is_told_that_the_config_does_not_name_it(
        self, program: Start, backends: Backends, free_port: Callable[[], int], workers: int
    ) -> None:
        """What is left of it is not known any more."""
        port, other, target = free_port(), free_port(), backends.websocket_echo()
        rule = to(target, "/ws")
        one = start(program, serving(port, other, workers, rule))
        without = serving(port, other, workers, rule)
        del without["listen"][0]
        with contextlib.ExitStack() as stack:
            stack.enter_context(connect(f"ws://127.0.0.1:{port}/ws"))
            for words in (["web"], ["-force", f"127.0.0.1:{target}"]):
                draining = stack.enter_context(one.begin_command("drain", *words))
                assert draining.stdout is not None
                assert draining.stdout.readline() == "draining: 1 request or connection left\n"
                one.configure(without if words == ["web"] else serving(other, port, workers))
                assert one.command("reload")[0] == 0
                said = draining.communicate(timeout=30)[0]
                assert (draining.returncode, said) == (1, "npserver drain: the drain was ended meanwhile\n")

    def test_under_the_name_that_the_config_gives_it_now(self, program: Start, free_port: Callable[[], int]) -> None:
        port, other = free_port(), free_port()
        one = start(program, serving(port, other, 2))
        assert one.command("drain", "web")[0] == 0
        renamed = serving(port, other, 2)
        renamed["listen"][0]["name"] = "site"
        one.configure(renamed)
        assert one.command("reload")[0] == 0
        shown = f"site http://127.0.0.1:{port} (drained)"
        one.wait_until(lambda: shown in get(other, "/status?format=html")[1].decode(), "the new name")
        assert one.command("undrain", "site") == (0, "takes clients again\n")

    def test_to_the_end_of_the_server_only_with_sockets_of_the_service_manager(
        self, tmp_path: Path, free_port: Callable[[], int]
    ) -> None:
        """Nobody else would let them listen again."""
        port, other = free_port(), free_port()
        config = tmp_path / "npserver.json"
        config.write_text(json.dumps(serving(port, other, 2)))
        with socket.create_server(("127.0.0.1", port)) as ours:
            running = subprocess.Popen(
                [sys.executable, "-c", _ACTIVATED, "-config", str(config)],
                env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "NPSERVER_TEST_SOCKET": str(ours.fileno())},
                pass_fds=[ours.fileno()],
                stderr=subprocess.PIPE,
                text=True,
            )
            with running:
                assert running.stderr is not None
                for line in running.stderr:
                    if "npserver 1" in line:
                        break
                assert get(port)[0] == 200
                command = [sys.executable, "-m", "npserver", "drain", "web", "-config", str(config)]
                subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, check=True, timeout=50)
                assert refuses(port)
                running.terminate()
                running.communicate(timeout=30)
            assert not refuses(port)


_ACTIVATED = """
import os, sys
number = int(os.environ.pop("NPSERVER_TEST_SOCKET"))
os.dup2(number, 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
from npserver.cli import main
sys.exit(main(sys.argv[1:]))
"""


class TestNames:
    def test_what_is_meant_is_asked_where_it_is_not_clear(
        self, program: Start, backends: Backends, free_port: Callable[[], int]
    ) -> None:
        port, other, target = free_port(), free_port(), backends.http()
        one = start(program, serving(port, other, 2, to(target, "/app"), to(port, "/self")))
        uri = f"http://127.0.0.1:{port}"
        status, said = one.command("drain", uri)
        assert status == 1
        assert f"'{uri}' is a listener and a target: give the listener a name, or say 127.0.0.1:{port} for the" in said
        assert last(one.command("drain", "-force", f"127.0.0.1:{port}")) == (0, "empty")
        assert "target" in one.wait_for(r"(target|listener) \S+ of a rule is drained").group()
        assert one.command("undrain", "web") == (1, "npserver undrain: 'web' is not drained\n")
        status, said = one.command("drain", "wed")
        assert status == 1
        assert "the config has no target or listener 'wed': did you mean web?" in said
        status, said = one.command("drain", f"https://127.0.0.1:{other}")
        assert status == 1 and f"http://127.0.0.1:{other}" in said
        assert "listeners" in one.command("drain", "?")[1]
