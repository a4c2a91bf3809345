"""Reload is a swap: connections live on, new requests see the new rules, a faulty config changes nothing.

Covers `process.reload`, `process.reload_outcome` and `program.runtime`.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from npserver.runtime.scoreboard import SLOTS
from tests.stage.asking import get, is_alive, refuses, worker_pids
from tests.stage.program import ROOT, Program

Start = Callable[..., Program]
WORKERS = pytest.mark.parametrize("workers", [0, 2])


def saying(word: str, *ports: int, workers: int = 2, **extra: Any) -> dict[str, Any]:
    """A config that answers a word on these ports."""
    return {
        "listen": [f"http://127.0.0.1:{port}" for port in ports],
        "workers": workers,
        "dispatch": [{"handler": "respond", "body": word}],
        **extra,
    }


def reload_by_signal(one: Program) -> None:
    before = len(re.findall("config reloaded|reload failed", one.errors))
    one.send_signal(signal.SIGHUP)
    one.wait_until(
        lambda: len(re.findall("config reloaded|reload failed", one.errors)) > before, "outcome of the reload"
    )


def reload_by_command(one: Program, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `npserver reload`."""
    return subprocess.run(
        [sys.executable, "-m", "npserver", "reload", "-config", str(one.config_file), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


SIGNAL_ONCE_BOUND = """
import os, signal, sys
from npserver.cli import main
from npserver.process.bindings import Bindings

commit = Bindings.commit

def commit_and_signal(self, *arguments):
    commit(self, *arguments)
    Bindings.commit = commit
    os.kill(os.getpid(), signal.SIGHUP)

Bindings.commit = commit_and_signal
sys.exit(main(sys.argv[1:]))
"""


@WORKERS
def test_asked_for_as_soon_as_sockets_are_bound(tmp_path: Path, free_port: Callable[[], int], workers: int) -> None:
    """The signal comes before anything is served: it is obeyed once that is so."""
    config = tmp_path / "c.json"
    config.write_text(json.dumps(saying("here", port := free_port(), workers=workers)))
    with subprocess.Popen(
        [sys.executable, "-c", SIGNAL_ONCE_BOUND, "-config", str(config)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        lines: list[str] = []
        for line in process.stderr:  # ends with the process, if it is not obeyed
            lines.append(line)
            if "config reloaded" in line:
                break
        assert "config reloaded" in "".join(lines), (lines, process.wait(30))
        assert get(port) == (200, b"here")
        process.terminate()
        assert process.wait(30) == 0


@WORKERS
class TestReload:
    def test_new_rules_for_the_next_request(self, program: Start, free_port: Callable[[], int], workers: int) -> None:
        port = free_port()
        one = program(config=saying("old", port, workers=workers))
        assert get(port) == (200, b"old")
        started = workers + 1 if workers else 0  # with the controller; the first may answer before the last is there
        one.wait_until(lambda: len(one.children()) == started, "all processes")
        children = one.children()
        one.configure(saying("new", port, workers=workers))
        reload_by_signal(one)
        one.wait_until(lambda: get(port) == (200, b"new"), "the new answer")
        assert one.children() == children

    def test_kept_connection_sees_the_new_rules(
        self, program: Start, free_port: Callable[[], int], workers: int
    ) -> None:
        port = free_port()
        config = saying("old", port, workers=workers)
        conditional = {"handler": "respond", "path": "/x", "match": {"method": "GET"}}  # a front of another class
        config["dispatch"].append(conditional)
        one = program(config=config)
        with socket.create_connection(("127.0.0.1", port), 30) as caller:

            def ask() -> bytes:
                caller.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                return caller.recv(4096)[-3:]

            assert ask() == b"old"
            one.configure(saying("new", port, workers=workers))
            reload_by_signal(one)
            one.wait_until(lambda: ask() == b"new", "the new answer on the old connection")

    def test_websocket_lives_on(
        self, program: Start, backends: Any, free_port: Callable[[], int], workers: int
    ) -> None:
        port = free_port()
        rule = {"handler": "proxy", "path": "/ws", "proxy_pass": f"http://127.0.0.1:{backends.websocket_echo()}"}
        config = saying("old", port, workers=workers)
        config["dispatch"].append(rule)
        one = program(config=config)
        with connect(f"ws://127.0.0.1:{port}/ws") as websocket:
            websocket.send("before")
            assert websocket.recv(timeout=30) == "before"
            one.configure(saying("new", port, workers=workers))  # without the WebSocket's rule
            reload_by_signal(one)
            one.wait_until(lambda: get(port) == (200, b"new"), "the new answer")
            websocket.send("after")
            assert websocket.recv(timeout=30) == "after"

    def test_tcp_forward_lives_on(
        self, program: Start, backends: Any, free_port: Callable[[], int], workers: int
    ) -> None:
        port, web = free_port(), free_port()
        config = saying("old", web, workers=workers)
        config["listen"].append({"name": "raw", "uri": f"tcp://127.0.0.1:{port}"})
        echo = f"tcp://127.0.0.1:{backends.tcp_echo()}"
        config["dispatch"].append({"listener": "raw", "handler": "forward", "forward_to": echo})
        one = program(config=config)
        with socket.create_connection(("127.0.0.1", port), 30) as caller:
            caller.sendall(b"before")
            assert caller.recv(100) == b"before"
            config["dispatch"][0]["body"] = "new"
            one.configure(config)
            reload_by_signal(one)
            one.wait_until(lambda: get(web) == (200, b"new"), "the new answer")
            caller.sendall(b"after")
            assert caller.recv(100) == b"after"

    def test_faulty_config_changes_nothing(self, program: Start, free_port: Callable[[], int], workers: int) -> None:
        port = free_port()
        one = program(config=saying("old", port, workers=workers))
        one.configure('{\n "listen": ["http://127.0.0.1:1"],\n "dipatch": [],\n "backlog": "many"\n}')
        reload_by_signal(one)
        assert re.search(r"npserver\.json:3:\d+: .*dipatch", one.errors)
        assert re.search(r"npserver\.json:4:\d+: .*backlog", one.errors)
        assert "reload failed: keeping the current configuration" in one.errors
        assert get(port) == (200, b"old")
        one.configure(saying("new", port, workers=workers))
        reload_by_signal(one)
        one.wait_until(lambda: get(port) == (200, b"new"), "the new answer")

    def test_a_config_with_too_many_counters_changes_nothing(
        self, program: Start, free_port: Callable[[], int], workers: int
    ) -> None:
        port = free_port()
        one = program(config=saying("old", port, workers=workers))
        full = saying("new", port, workers=workers)
        limited = {"handler": "respond", "body": "new", "rate_limit": "9/s"}
        full["dispatch"] += [{"path": f"/{number}", **limited} for number in range(SLOTS // 2)]
        one.configure(full)
        reload_by_signal(one)
        assert f"more than {SLOTS} counters of rules, limits and upstreams" in one.errors
        assert "reload failed: keeping the current configuration" in one.errors
        assert get(port) == (200, b"old")
        one.configure(saying("new", port, workers=workers))
        reload_by_signal(one)
        one.wait_until(lambda: get(port) == (200, b"new"), "the new answer")

    def test_port_in_use_changes_nothing(self, program: Start, free_port: Callable[[], int], workers: int) -> None:
        port, other = free_port(), free_port()
        one = program(config=saying("old", port, workers=workers))
        with socket.create_server(("127.0.0.1", 0)) as taken:
            one.configure(saying("new", port, other, taken.getsockname()[1], workers=workers))
            reload_by_signal(one)
        assert re.search(r": port \d+ is in use by \S+ \(pid \d+\): ", one.errors)
        assert get(port) == (200, b"old")
        assert refuses(other), "what was bound for the new config is closed again"

    def test_listeners_come_and_go(self, program: Start, free_port: Callable[[], int], workers: int) -> None:
        old, kept, new = free_port(), free_port(), free_port()
        one = program(config=saying("one", old, kept, workers=workers))
        one.wait_for("npserver 1")
        one.configure(saying("two", kept, new, workers=workers))
        reload_by_signal(one)
        one.wait_until(lambda: refuses(old), "the end of the removed listener")
        assert get(new) == (200, b"two")
        one.wait_until(lambda: get(kept) == (200, b"two"), "the new answer")

    def test_another_address_with_the_same_port(
        self, program: Start, free_port: Callable[[], int], workers: int
    ) -> None:
        port = free_port()
        one = program(config=saying("one", port, workers=workers))
        config = saying("two", workers=workers)
        config["listen"] = [f"http://:{port}"]
        one.configure(config)
        reload_by_signal(one)
        one.wait_until(lambda: get(port) == (200, b"two"), "the new answer")
        assert get(port, host="::1") == (200, b"two")

    def test_connections_of_a_removed_listener_drain(
        self, program: Start, free_port: Callable[[], int], workers: int
    ) -> None:
        old, kept = free_port(), free_port()
        one = program(config=saying("one", old, kept, workers=workers))
        with socket.create_connection(("127.0.0.1", old), 30) as caller:
            caller.settimeout(30)
            caller.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert caller.recv(4096).endswith(b"one")
            one.configure(saying("two", kept, workers=workers))
            reload_by_signal(one)
            assert caller.recv(4096) == b"", "an idle connection is closed, not cut off"

    def test_command_says_how_it_went(self, program: Start, free_port: Callable[[], int], workers: int) -> None:
        port = free_port()
        one = program(config=saying("old", port, workers=workers))
        one.wait_for("npserver 1")
        one.configure(saying("new", port, workers=workers))
        done = reload_by_command(one)
        assert (done.returncode, done.stdout, done.stderr) == (0, "reloaded\n", "")
        one.wait_until(lambda: get(port) == (200, b"new"), "the new answer")
        one.configure('{"listen": 7}')
        failed = reload_by_command(one)
        assert failed.returncode == 1
        assert failed.stdout == "reload failed: keeping the current configuration\n"
        assert re.search(r"npserver\.json:1:\d+: .*listen", failed.stderr)
        assert get(port) == (200, b"new")

    def test_a_watched_file_is_reloaded(self, program: Start, free_port: Callable[[], int], workers: int) -> None:
        port = free_port()
        one = program("-watch", config=saying("old", port, workers=workers))
        one.wait_for("npserver 1")
        one.configure(saying("the new one", port, workers=workers))
        one.wait_until(lambda: get(port) == (200, b"the new one"), "the new answer")

    def test_a_watched_file_may_keep_its_time_and_size(
        self, program: Start, free_port: Callable[[], int], workers: int
    ) -> None:
        """Nix gives all files the same time, and links to another one."""
        port = free_port()
        one = program("-watch", config=saying("old", port, workers=workers))
        one.wait_for("npserver 1")
        assert one.config_file is not None
        before = one.config_file.stat()
        new = one.config_file.with_name("other.json")
        new.write_text(one.config_file.read_text().replace("old", "new"))
        os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
        new.replace(one.config_file)
        one.wait_until(lambda: get(port) == (200, b"new"), "the new answer")

    def test_unchangeable_keys_are_told(self, program: Start, free_port: Callable[[], int], workers: int) -> None:
        port = free_port()
        one = program(config=saying("old", port, workers=workers))
        one.wait_for("npserver 1")
        one.configure(saying("new", port, workers=1))
        told = r'npserver\.json:\d+:\d+: "workers" cannot be changed by a reload: restart'
        done = reload_by_command(one)
        assert done.returncode == 0
        assert re.search(told, done.stderr), "the command prints warnings"
        assert re.search(told, one.errors)

    def test_unix_socket_is_kept(self, program: Start, socket_dir: Path, workers: int) -> None:
        path = socket_dir / "a.sock"
        config = {**saying("old", workers=workers), "listen": [{"uri": f"unix://{path}", "mode": "0600"}]}
        one = program(config=config)
        one.wait_for("npserver 1")
        inode = path.stat().st_ino
        config["listen"][0]["mode"] = "0666"
        one.configure(config)
        reload_by_signal(one)
        one.wait_until(lambda: path.stat().st_mode & 0o777 == 0o666, "the new mode")
        assert path.stat().st_ino == inode


class TestProcesses:
    def test_replaced_worker_has_the_new_config(self, program: Start, free_port: Callable[[], int]) -> None:
        port, added = free_port(), free_port()
        one = program(config=saying("old", port, workers=1))
        one.wait_for("npserver 1")
        one.configure(saying("new", port, added, workers=1))
        reload_by_signal(one)
        (victim,) = worker_pids(one)
        os.kill(victim, signal.SIGKILL)
        one.wait_until(lambda: not is_alive(victim), "its end")
        assert get(port) == (200, b"new")
        assert get(added) == (200, b"new")

    def test_all_workers_switch_or_none(self, program: Start, free_port: Callable[[], int]) -> None:
        """A worker that is stopped has not compiled the config yet: nobody uses it until it has."""
        port = free_port()
        one = program(config=saying("old", port, workers=2))
        one.wait_for("npserver 1")
        stopped = worker_pids(one)[0]
        os.kill(stopped, signal.SIGSTOP)
        try:
            one.configure(saying("new", port, workers=2))
            one.send_signal(signal.SIGHUP)
            answers = set()
            for _ in range(20):
                with socket.create_connection(("127.0.0.1", port), 30) as caller:
                    caller.settimeout(0.1)
                    caller.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    try:
                        answers.add(caller.recv(4096)[-3:])
                    except TimeoutError:
                        answers.add(b"waits")
            assert b"new" not in answers
            assert b"old" in answers
        finally:
            os.kill(stopped, signal.SIGCONT)
        one.wait_for("config reloaded")
        one.wait_until(lambda: all(get(port) == (200, b"new") for _ in range(8)), "the new answer from all")

    def test_a_worker_that_cannot_switch_is_reported_and_replaced(
        self, program: Start, free_port: Callable[[], int]
    ) -> None:
        """It may open no further file: the new listener's socket fits, the copy to accept on does not."""
        port, added = free_port(), free_port()
        one = program(config=saying("old", port))
        one.wait_for("npserver 1")
        victim = worker_pids(one)[0]
        opened = {int(number) for number in os.listdir(f"/proc/{victim}/fd")}
        second_free = sorted(set(range(1000)) - opened)[1]
        resource.prlimit(victim, resource.RLIMIT_NOFILE, (second_free, second_free))
        one.configure(saying("new", port, added))
        done = reload_by_command(one)
        assert done.returncode == 1
        assert re.fullmatch(
            r"worker \d: cannot switch to the new config: too many open files; it is replaced\n", done.stderr
        )
        assert done.stdout.startswith("reload incomplete: the new configuration is in use")
        assert not is_alive(victim)
        assert {get(which) for which in (port, added) for _ in range(8)} == {(200, b"new")}

    def test_without_a_server_a_reload_says_so(self, tmp_path: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "npserver", "reload", "-config", str(tmp_path / "none.json")],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert re.fullmatch(r"npserver reload: no running server uses the config \S+none\.json: .*\n", done.stderr)

    def test_pidfile_names_the_server(self, program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
        port = free_port()
        one = program("-pidfile", "a.pid", config=saying("old", port, workers=1))
        one.wait_for("npserver 1")
        one.configure(saying("new", port, workers=1))
        done = reload_by_command(one, "-pidfile", str(tmp_path / "a.pid"))
        assert done.returncode == 0
        one.wait_until(lambda: get(port) == (200, b"new"), "the new answer")
