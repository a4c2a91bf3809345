"""Start, stop, death and replacement of the program's processes, by the real program.

Covers `process.child`, `process.children`, `process.master`, `process.single_process` and `process.title`.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from npserver.process.signals import SAME_STOP_S
from tests.stage.asking import Asking, SlowUpstream, get, is_alive, refuses, worker_pids
from tests.stage.program import Program

Start = Callable[..., Program]
WORKERS = pytest.mark.parametrize("workers", [0, 2])


class TestStart:
    @WORKERS
    def test_one_command_serves(self, program: Start, public: Path, free_port: Callable[[], int], workers: int) -> None:
        port = free_port()
        one = program(f"http://127.0.0.1:{port}", "-workers", str(workers))
        assert get(port, "/app.css") == (200, (public / "app.css").read_bytes())
        assert len(one.children()) == (workers + 1 if workers else 0)
        one.wait_for(rf"^  http://127\.0\.0\.1:{port}  .*public$")
        one.stop()
        assert refuses(port)

    @pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
    def test_it_serves_on_either_loop(
        self, program: Start, public: Path, free_port: Callable[[], int], loop: str
    ) -> None:
        port = free_port()
        program(f"http://127.0.0.1:{port}", "-workers", "1", env={"NPSERVER_LOOP": loop})
        assert get(port)[0] == 200

    def test_each_listener_has_its_own_targets(
        self, program: Start, backends: Any, public: Path, free_port: Callable[[], int]
    ) -> None:
        """`-to` belongs to the listener before it, in any order of options."""
        web, first, second = free_port(), free_port(), free_port()
        echo = backends.tcp_echo()
        slow = socket.create_server(("127.0.0.1", 0))
        program(
            f"tcp://127.0.0.1:{first}", "-to", f"127.0.0.1:{echo}", "-c", "64", f"http://127.0.0.1:{web}",
            f"tcp://127.0.0.1:{second}", f"-L=tcp://127.0.0.1:{slow.getsockname()[1]}", "-workers", "1",
        )  # fmt: skip
        assert get(web)[0] == 200
        with socket.create_connection(("127.0.0.1", first), 30) as caller:
            caller.sendall(b"hello")
            assert caller.recv(100) == b"hello"
        with socket.create_connection(("127.0.0.1", second), 30) as caller, slow:
            slow.settimeout(30)
            taken, _ = slow.accept()
            taken.sendall(b"the other")
            assert caller.recv(100) == b"the other"
            taken.close()

    @pytest.mark.skipif("sys.platform != 'linux'", reason="titles are written by way of /proc")
    def test_processes_have_titles(self, program: Start, free_port: Callable[[], int]) -> None:
        config = {"listen": [f"http://127.0.0.1:{free_port()}"], "workers": 2}
        one = program(config=config)
        one.wait_for("npserver 1")

        def title(pid: int) -> str:
            return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0")

        assert title(one.process.pid) == f"npserver: master {one.config_file}"
        titles = ["npserver: controller", "npserver: worker 0", "npserver: worker 1"]
        assert sorted(map(title, one.children())) == titles
        for pid in (one.process.pid, *one.children()):
            assert Path(f"/proc/{pid}/comm").read_text() == "npserver\n", "as `top` shows it"

    @pytest.mark.skipif("sys.platform != 'linux'", reason="titles are written by way of /proc")
    def test_a_single_process_has_a_title(self, program: Start, free_port: Callable[[], int]) -> None:
        one = program(f"http://127.0.0.1:{free_port()}", "-workers", "0")
        assert Path(f"/proc/{one.process.pid}/cmdline").read_text().rstrip("\0") == "npserver: one process"

    def test_config_json_here_is_found(self, program: Start, tmp_path: Path, free_port: Callable[[], int]) -> None:
        port = free_port()
        (tmp_path / "config.json").write_text(
            f'{{"listen": ["http://127.0.0.1:{port}"], "dispatch": [{{"handler": "respond", "body": "found"}}]}}'
        )
        program("-workers", "0", listens=[f"http://127.0.0.1:{port}"])
        assert get(port) == (200, b"found")

    @pytest.mark.parametrize(
        ("words", "start"),
        [
            (["help"], "npserver: web server,"),
            (["help", "check"], "usage: npserver check"),
            (["version"], "npserver "),
        ],
    )
    def test_help_and_version_are_understood_as_words(self, program: Start, words: list[str], start: str) -> None:
        one = program(*words, wait=False)
        assert one.wait_exit() == 0
        assert one.output.startswith(start)

    def test_pidfile_lasts_as_long_as_the_program(
        self, program: Start, tmp_path: Path, free_port: Callable[[], int]
    ) -> None:
        one = program(f"http://127.0.0.1:{free_port()}", "-workers", "1", "-pidfile", "here.pid")
        assert (tmp_path / "here.pid").read_text() == f"{one.process.pid}\n"
        one.stop()
        assert not (tmp_path / "here.pid").exists()

    def test_a_unix_listener_serves(self, program: Start, public: Path, socket_dir: Path) -> None:
        path = socket_dir / "web.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))  # left behind by a program that is gone
        one = program(f"unix://{path}", "-workers", "2")
        one.wait_for("npserver 1")
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(30)
            caller.connect(str(path))
            caller.sendall(b"GET /app.css HTTP/1.0\r\n\r\n")
            assert caller.recv(100).startswith(b"HTTP/1.1 200 ")
        one.stop()
        assert not path.exists()


class TestRefusedStart:
    """One line that names listener, place and remedy; nothing stays behind."""

    @WORKERS
    def test_a_port_in_use_is_named(self, program: Start, workers: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            one = program(f"http://127.0.0.1:{port}", "-workers", str(workers), wait=False)
            assert one.wait_exit() == 1
        assert re.fullmatch(
            rf"npserver: listener 'http://127\.0\.0\.1:{port}' \(command line\): port {port} is in use by \S+ "
            rf"\(pid {os.getpid()}\): end that program, or choose another port\n",
            one.errors,
        )

    def test_second_start_on_the_same_port(self, program: Start, free_port: Callable[[], int]) -> None:
        """SO_REUSEPORT would let it share the port and half of the clients."""
        port = free_port()
        first = program(f"http://127.0.0.1:{port}", "-workers", "2")
        second = program(f"http://127.0.0.1:{port}", "-workers", "2", wait=False)
        assert second.wait_exit() == 1
        assert f"port {port} is in use by" in second.errors
        assert f"(pid {first.process.pid})" in second.errors

    @WORKERS
    def test_second_start_with_the_same_config(
        self, program: Start, free_port: Callable[[], int], workers: int
    ) -> None:
        config = {"listen": [f"http://127.0.0.1:{free_port()}"], "workers": workers}
        first = program(config=config)
        first.wait_for("npserver 1")
        second = program(config=config, wait=False)
        assert second.wait_exit() == 1
        file = re.escape(str(first.config_file))
        assert re.fullmatch(
            rf"npserver: another npserver runs with {file} already \(pid {first.process.pid}\): "
            rf"`npserver reload -config {file}` makes it read the file again; end it before you start another "
            rf"\(listener .* in use by npserver \(pid {first.process.pid}\): .*\)\n",
            second.errors,
        )

    def test_earlier_listeners_are_released(self, program: Start, socket_dir: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            one = program(
                f"unix://{socket_dir}/a.sock", f"http://127.0.0.1:{taken.getsockname()[1]}", "-workers", "2", wait=False
            )
            assert one.wait_exit() == 1
        assert list(socket_dir.iterdir()) == []

    def test_a_failing_listener_is_named_by_its_place(self, program: Start, socket_dir: Path) -> None:
        path = f"unix://{socket_dir}/none/a.sock"
        text = '{\n  "listen": [\n    {"name": "web", "uri": "PATH"}\n  ]\n}\n'
        one = program(config=text.replace("PATH", path), wait=False)
        assert one.wait_exit() == 1
        assert one.errors == (
            f"npserver: listener 'web' ({one.config_file}:3:5): directory {socket_dir}/none does not exist: create it\n"
        )

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["-confg", "x"], "npserver: unknown option '-confg', did you mean -config?\n"),
            (["-config", "none.json"], "none.json: cannot read the config: No such file or directory\n"),
            (["tcp://127.0.0.1:0", "-pidfile", "none/a.pid", "-to", "127.0.0.1:1"], "npserver: -pidfile none/a.pid: "),
        ],
    )
    def test_an_error_is_one_line(self, program: Start, arguments: list[str], message: str) -> None:
        one = program(*arguments, wait=False)
        assert one.wait_exit() in (1, 2)
        assert one.errors.startswith(message)
        assert one.errors.count("\n") == 1

    def test_nothing_to_serve_shows_the_usage(self, program: Start) -> None:
        one = program(wait=False)
        assert one.wait_exit() == 2
        assert one.errors.startswith("npserver: nothing to serve: give a URI or -config FILE (no config.json found)\n")
        assert "usage: npserver URI..." in one.errors


def proxied(port: int, upstream: int, workers: int, **extra: Any) -> dict[str, Any]:
    return {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": workers,
        "dispatch": [
            {"handler": "respond", "body": "up"},
            {"handler": "proxy", "path": "/slow", "proxy_pass": f"http://127.0.0.1:{upstream}"},
        ],
        **extra,
    }


class TestStop:
    @WORKERS
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_exchange_in_flight_is_finished(
        self, program: Start, slow: SlowUpstream, free_port: Callable[[], int], workers: int, number: signal.Signals
    ) -> None:
        port = free_port()
        one = program(config=proxied(port, slow.port, workers))
        asking = Asking(port, "/slow")
        slow.take_request()
        one.send_signal(number)
        one.wait_until(lambda: refuses(port), "refusal of new connections")
        assert one.process.poll() is None
        slow.answer(b"worth waiting for")
        assert asking.finish() == (200, b"worth waiting for")
        assert one.wait_exit() == 0

    @WORKERS
    def test_idle_connections_do_not_hold_it_up(
        self, program: Start, free_port: Callable[[], int], workers: int
    ) -> None:
        port = free_port()
        one = program(config=proxied(port, 9, workers))
        idle = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        idle.request("GET", "/")
        assert idle.getresponse().read() == b"up"
        before = time.monotonic()
        one.stop()
        assert time.monotonic() - before < 5
        idle.close()

    @WORKERS
    def test_second_signal_ends_at_once(
        self, program: Start, slow: SlowUpstream, free_port: Callable[[], int], workers: int
    ) -> None:
        port = free_port()
        one = program(config=proxied(port, slow.port, workers))
        asking = Asking(port, "/slow")
        slow.take_request()
        one.send_signal(signal.SIGTERM)
        one.wait_for("shutting down")
        later = time.monotonic() + SAME_STOP_S
        one.wait_until(lambda: time.monotonic() > later, "the time after which a signal is another one")
        one.send_signal(signal.SIGTERM)
        assert one.wait_exit() == 128 + signal.SIGTERM
        assert asking.finish() is None
        assert "Traceback" not in one.errors

    @WORKERS
    def test_no_reload_happens_during_shutdown(
        self, program: Start, slow: SlowUpstream, free_port: Callable[[], int], workers: int
    ) -> None:
        """A reload would bind the closed sockets again."""
        port = free_port()
        one = program(config=proxied(port, slow.port, workers))
        asking = Asking(port, "/slow")
        slow.take_request()
        one.send_signal(signal.SIGTERM)
        one.wait_until(lambda: refuses(port), "refusal of new connections")
        one.send_signal(signal.SIGHUP)
        one.send_signal(signal.SIGHUP)
        slow.answer(b"worth waiting for")
        assert asking.finish() == (200, b"worth waiting for")
        assert one.wait_exit() == 0
        assert not re.search("config reloaded|reload failed|the old one", one.errors)
        assert refuses(port)

    @WORKERS
    def test_shutdown_timeout_cuts_off(
        self, program: Start, slow: SlowUpstream, free_port: Callable[[], int], workers: int
    ) -> None:
        port = free_port()
        one = program(config=proxied(port, slow.port, workers, timeouts={"shutdown": "300ms"}))
        asking = Asking(port, "/slow")
        slow.take_request()
        one.send_signal(signal.SIGTERM)
        assert one.wait_exit() == 0
        assert asking.finish() is None
        assert "1 connection aborted after 0.3 s (timeouts.shutdown)" in one.errors
        assert re.search(r" GET \S+/slow 499 ", one.output)  # what is cut off is logged, too

    def test_nobody_outlives_the_master(self, program: Start, free_port: Callable[[], int]) -> None:
        port = free_port()
        one = program(f"http://127.0.0.1:{port}", "-workers", "2")
        one.wait_for("npserver 1")
        children = one.children()
        one.process.kill()
        one.wait_until(lambda: not any(is_alive(pid) for pid in children), "end of the children")
        assert refuses(port)


class TestDeath:
    def test_killed_worker_is_replaced_and_loses_no_queued_connection(
        self, program: Start, free_port: Callable[[], int]
    ) -> None:
        port = free_port()
        one = program(config=proxied(port, 9, 1))
        one.wait_for("npserver 1")
        (victim,) = worker_pids(one)
        os.kill(victim, signal.SIGSTOP)  # what connects now stays in the queue
        callers = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(20)]
        for caller in callers:
            caller.sendall(b"GET / HTTP/1.0\r\n\r\n")
        before = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        for caller in callers:
            assert caller.recv(100).startswith(b"HTTP/1.1 200 ")
            caller.close()
        assert time.monotonic() - before < 2  # 0.2 s on a machine with nothing else to do
        assert victim not in worker_pids(one)
        assert len(worker_pids(one)) == 1
        assert "worker 0 exited (signal SIGKILL), restarting it" in one.errors

    def test_killed_as_soon_as_it_answers(self, program: Start, free_port: Callable[[], int]) -> None:
        """A worker that was ready is replaced even if others of the first start are not ready yet."""
        port = free_port()
        for _ in range(5):
            one = program(f"http://127.0.0.1:{port}", "-workers", "2")
            victims = worker_pids(one)
            for victim in victims:
                os.kill(victim, signal.SIGKILL)
            one.wait_until(lambda victims=victims: not any(map(is_alive, victims)), "their end")
            assert get(port)[0] == 200
            one.stop()

    def test_killed_controller_is_replaced(self, program: Start, free_port: Callable[[], int]) -> None:
        one = program(f"http://127.0.0.1:{free_port()}", "-workers", "1")
        one.wait_for("npserver 1")
        controller = max(one.children())
        os.kill(controller, signal.SIGKILL)
        one.wait_for(r"controller exited \(signal SIGKILL\), restarting it")
        one.wait_until(lambda: controller not in one.children() and len(one.children()) == 2, "a new controller")

    def test_gauges_of_a_killed_worker_are_cleared(self, program: Start, free_port: Callable[[], int]) -> None:
        port = free_port()
        config = proxied(port, 9, 1, timeouts={"max_connections_per_ip": 3})
        one = program(config=config)
        one.wait_for("npserver 1")
        held = [http.client.HTTPConnection("127.0.0.1", port, timeout=30) for _ in range(3)]
        for connection in held:
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"up"
        assert get(port)[0] == 503
        (victim,) = worker_pids(one)
        os.kill(victim, signal.SIGKILL)
        one.wait_until(lambda: victim not in one.children() and len(one.children()) == 2, "a new worker")
        assert get(port)[0] == 200
        for connection in held:
            connection.close()

    def test_dying_again_and_again_is_slowed_down(self, program: Start, free_port: Callable[[], int]) -> None:
        one = program(f"http://127.0.0.1:{free_port()}", "-workers", "1")
        one.wait_for("npserver 1")
        for _ in range(3):
            victims = one.wait_until(lambda: len(one.children()) == 2 and worker_pids(one), "a worker")
            os.kill(min(victims), signal.SIGKILL)
            one.wait_until(lambda victims=victims: victims[0] not in one.children(), "its end")
        one.wait_for(r"restarting it in 0\.\d s")
