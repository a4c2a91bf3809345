"""The control socket of the real program: its protocol, callers that misbehave, the place that the config names.

Covers `process.control.client`, `process.control.commands`, `process.control.places`, `process.control.protocol` and
`process.control.server`.
"""

from __future__ import annotations

import json
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from npserver.process.control.client import ask
from npserver.process.control.places import control_path
from npserver.process.control.protocol import MAX_REQUEST_BYTES, Answer, Reply, Request, run_request
from npserver.process.control.server import MAX_CALLERS, TOO_MANY, WITHIN_S
from tests.stage.asking import get
from tests.stage.program import Program

Start = Callable[..., Program]
WORKERS = pytest.mark.parametrize("workers", [0, 2])


@pytest.fixture
def end_with() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def config(port: int, workers: int, **extra: Any) -> dict[str, Any]:
    return {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": workers,
        "dispatch": [{"handler": "respond", "body": "here"}],
        **extra,
    }


def started(program: Start, port: int, workers: int, **extra: Any) -> Program:
    one = program(config=config(port, workers, **extra))
    one.wait_for("npserver 1")
    return one


def connect(path: str) -> socket.socket:
    caller = socket.socket(socket.AF_UNIX)
    caller.settimeout(20)
    caller.connect(path)
    return caller


def talk(path: str, *pieces: bytes) -> Any:
    """Send the pieces of a request, and return the answer."""
    with connect(path) as caller:
        for piece in pieces:
            caller.sendall(piece)
        return json.loads(b"".join(iter(lambda: caller.recv(65_536), b"")))


@WORKERS
def test_protocol(program: Start, free_port: Callable[[], int], workers: int) -> None:
    one = started(program, free_port(), workers)
    path = control_path(str(one.config_file))
    assert talk(path, b'{"command": "flush"}\n') == {"errors": [], "result": None}
    assert talk(path, b'{"comm', b'and": "flu', b'sh"}\n') == {"errors": [], "result": None}
    assert talk(path, b'{"command": "reload"}\n')["result"]["is_in_use"] is True
    [told] = talk(path, b'{"command": "rewind"}\n')["errors"]
    assert told.startswith("'rewind' is not known to the running npserver 1") and "reload" in told
    assert "in JSON" in talk(path, b"reload\n")["errors"][0]
    assert "in JSON" in talk(path, b"\xff\xfe\n")["errors"][0]
    assert "in JSON" in talk(path, b'{"command": 5}\n')["errors"][0]
    assert "at most" in talk(path, b"x" * MAX_REQUEST_BYTES)["errors"][0]


@WORKERS
def test_callers_that_say_nothing_hold_up_nobody(
    program: Start, free_port: Callable[[], int], workers: int, end_with: ExitStack
) -> None:
    port = free_port()
    one = started(program, port, workers)
    path = control_path(str(one.config_file))
    begun = time.monotonic()
    silent = [end_with.enter_context(connect(path)) for _ in range(MAX_CALLERS)]
    assert ask(str(one.config_file), "flush").errors == [TOO_MANY]
    assert ask(str(one.config_file), "flush", unread="x" * 1_000_000).errors == [TOO_MANY]  # answered while it is sent
    assert get(port) == (200, b"here")
    for caller in silent:
        assert caller.recv(1) == b""
    assert WITHIN_S - 1 < time.monotonic() - begun < WITHIN_S + 10
    assert ask(str(one.config_file), "flush").errors == []


@WORKERS
def test_place_that_the_config_names(
    program: Start, free_port: Callable[[], int], socket_dir: Path, workers: int
) -> None:
    port, first, second = free_port(), socket_dir / "a.sock", socket_dir / "b.sock"
    one = started(program, port, workers, control=str(first))
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    assert talk(str(first), b'{"command": "flush"}\n')["errors"] == []
    one.configure(config(port, workers, control=str(second)))
    assert one.command("reload") == (0, "reloaded\n")
    assert talk(str(second), b'{"command": "flush"}\n')["errors"] == []
    assert not first.exists()
    derived = Path(control_path(str(one.config_file)))
    derived.unlink()
    assert one.command("reload") == (0, "reloaded\n")  # by the place that the config names
    one.stop()
    assert not second.exists() and not derived.exists()


def test_a_place_that_cannot_be_used_is_told_and_the_server_starts(
    program: Start, free_port: Callable[[], int], tmp_path: Path
) -> None:
    port = free_port()
    one = started(program, port, 2, control="none/a.sock")
    one.wait_for(r"no control socket at \S+/none/a\.sock \(control\): .*make the directory: install -d -m 700")
    assert get(port) == (200, b"here")
    status, said = one.command("check")
    assert status == 2 and "'control': " in said, said


def test_an_older_server_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server from before requests in JSON answers in its own way."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(control_path("c.json"))
        old.listen()

        def serve() -> None:
            caller, _ = old.accept()
            with caller:
                caller.recv(256)
                caller.sendall(b'{"errors":["unknown request on the control socket"],"warnings":[],"is_in_use":false}')

        thread = threading.Thread(target=serve)
        thread.start()
        assert "older npserver" in ask("c.json", "flush").errors[0]
        thread.join()


def test_a_command_that_fails_does_not_end_the_server(caplog: pytest.LogCaptureFixture) -> None:
    def fail(request: Request, reply: Reply) -> None:
        raise ValueError("a fault of ours")

    answers: list[Answer] = []
    run_request(b'{"command": "fail"}\n', {"fail": fail}, answers.append)
    assert answers == [Answer(["internal error: the server's log has it"])]
    assert "internal error in the command 'fail'" in caplog.text
