"""The program under a service manager: readiness, sockets passed on, logs that are rotated, many reloads."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stage.asking import get, worker_pids
from tests.stage.program import ROOT, Program

Start = Callable[..., Program]
WORKERS = pytest.mark.parametrize("workers", [0, 2])


def saying(word: str, port: int, workers: int, **extra: Any) -> dict[str, Any]:
    return {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": workers,
        "dispatch": [{"handler": "respond", "body": word}],
        **extra,
    }


@pytest.fixture
def notified(socket_dir: Path) -> Iterator[socket.socket]:
    """The service manager's end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(socket_dir / "notify"))
        manager.settimeout(30)
        yield manager


@WORKERS
def test_service_manager_is_told(
    program: Start, notified: socket.socket, free_port: Callable[[], int], workers: int
) -> None:
    port = free_port()
    one = program(config=saying("old", port, workers), env={"NOTIFY_SOCKET": notified.getsockname()})
    assert notified.recv(1000).startswith(b"READY=1")
    assert get(port)[0] == 200
    one.send_signal(signal.SIGHUP)
    assert notified.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert notified.recv(1000).startswith(b"READY=1")
    one.stop()
    assert notified.recv(1000) == b"STOPPING=1"


@WORKERS
def test_socket_of_the_service_manager_is_used(free_port: Callable[[], int], tmp_path: Path, workers: int) -> None:
    """`systemd-socket-activate` in a few lines: the socket is descriptor 3, LISTEN_PID names the process."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
        (tmp_path / "a.json").write_text(json.dumps(saying("activated", port, workers)))
        code = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
            "os.execv(sys.executable, [sys.executable, '-m', 'npserver', '-config', 'a.json'])"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(bound.fileno())],
            pass_fds=[bound.fileno()], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "LISTEN_FDS": "1"},
        )  # fmt: skip
        try:
            assert get(port) == (200, b"activated")  # queued until it is served
        finally:
            process.terminate()
            errors = process.communicate(timeout=20)[1]
        assert process.returncode == 0, errors
        with socket.create_connection(("127.0.0.1", port), 30):
            bound.accept()[0].close()  # it still takes clients, which wait for the next start


INTERPRETER = Path(sys.executable).resolve()


@pytest.mark.skipif(
    os.geteuid() != 0 or not all(one.stat().st_mode & 0o001 for one in (ROOT, *ROOT.parents, *INTERPRETER.parents)),
    reason="needs root, and a checkout and a Python below directories that every user may enter",
)
@WORKERS
def test_root_reloads_a_server_of_another_user_in_its_runtime_directory(
    free_port: Callable[[], int], socket_dir: Path, workers: int
) -> None:
    """As in the systemd unit of the docs, with `DynamicUser` and `PrivateTmp`."""
    port, config = free_port(), socket_dir / "a.json"
    config.write_text(json.dumps(saying("old", port, workers)))
    socket_dir.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "npserver"]
    with tempfile.TemporaryDirectory(prefix="npserver-test-", dir="/run") as runtime:
        os.chown(runtime, 65534, 65534)
        process = subprocess.Popen(
            [*command, "-config", str(config)], user=65534, group=65534, extra_groups=[], cwd="/",
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={**environment, "RUNTIME_DIRECTORY": runtime},
        )  # fmt: skip
        try:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("npserver 1")
            config.write_text(json.dumps(saying("new", port, workers)))
            done = subprocess.run(
                [*command, "reload", "-config", str(config)],
                env=environment, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert (done.returncode, done.stdout, done.stderr) == (0, "reloaded\n", "")
            assert get(port) == (200, b"new")
        finally:
            process.terminate()
            process.communicate(timeout=20)
        assert os.listdir(runtime) == []


@WORKERS
def test_a_control_socket_without_a_place_is_told(
    program: Start, free_port: Callable[[], int], socket_dir: Path, workers: int
) -> None:
    (socket_dir / "file").touch()
    directory = str(socket_dir / "file" / "below")
    one = program(config=saying("here", port := free_port(), workers), env={"RUNTIME_DIRECTORY": directory})
    assert get(port) == (200, b"here")
    one.wait_for(rf"no control socket at {directory}/npserver-\w+\.sock: not a directory; .* SIGHUP reloads it")


@WORKERS
def test_a_rotated_access_log_goes_on(
    program: Start, free_port: Callable[[], int], tmp_path: Path, workers: int
) -> None:
    port = free_port()
    log = tmp_path / "access.log"
    one = program(config=saying("x", port, workers, logging={"access_log": str(log)}))
    get(port, "/before")
    one.wait_until(lambda: "/before" in log.read_text(), "the first line")
    log.rename(tmp_path / "access.log.1")
    one.send_signal(signal.SIGUSR1)
    one.wait_until(log.exists, "the new file")
    get(port, "/after")
    one.wait_until(lambda: "/after" in log.read_text(), "the second line")
    assert "/after" not in (tmp_path / "access.log.1").read_text()


@WORKERS
def test_reloads_in_a_row_end_with_the_last_config(program: Start, free_port: Callable[[], int], workers: int) -> None:
    port = free_port()
    one = program(config=saying("0", port, workers))
    one.wait_for("npserver 1")
    for number in range(1, 6):
        one.configure(saying(str(number), port, workers))
        one.send_signal(signal.SIGHUP)
    one.wait_until(lambda: get(port) == (200, b"5"), "the last config")
    assert all(get(port) == (200, b"5") for _ in range(8))


def test_reloads_leave_no_descriptors_behind(program: Start, free_port: Callable[[], int]) -> None:
    port, other = free_port(), free_port()
    one = program(config=saying("0", port, 1))
    one.wait_for("npserver 1")

    def descriptors() -> list[int]:
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in (one.process.pid, *worker_pids(one))]

    def reload(config: dict[str, Any], word: str) -> None:
        one.configure(config)
        one.send_signal(signal.SIGHUP)
        one.wait_until(lambda: get(port) == (200, word.encode()), "the new config")

    reload(saying("1", port, 1), "1")
    before = descriptors()
    for number in range(2, 6):
        config = saying(str(number), port, 1)
        if number % 2:
            config["listen"].append(f"http://127.0.0.1:{other}")
            config["listen"].append(f"udp://127.0.0.1:{other}")
            config["dispatch"].append(
                {"listener": f"udp://127.0.0.1:{other}", "handler": "forward", "forward_to": "udp://127.0.0.1:9"}
            )
        reload(config, str(number))
    reload(saying("6", port, 1), "6")
    one.wait_until(
        lambda: all(now <= then for now, then in zip(descriptors(), before, strict=True)),
        f"as few descriptors as before ({before})",
    )


def test_json_logs_have_no_table(program: Start, free_port: Callable[[], int]) -> None:
    port = free_port()
    one = program(config=saying("x", port, 1, logging={"format": "json"}))
    one.wait_for(f"serving http://127.0.0.1:{port}")
    one.stop()
    assert all(json.loads(line)["message"] for line in one.errors.splitlines())
