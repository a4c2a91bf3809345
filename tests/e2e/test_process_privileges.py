"""The config's `user`: children run as that user, and the master does for them what only root may do.

Covers `process.privileged`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stage.asking import get, worker_pids
from tests.stage.program import Program

Start = Callable[..., Program]
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def answering(port: int, workers: int, **extra: Any) -> dict[str, Any]:
    """Return a config that answers every request."""
    return {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": workers,
        "dispatch": [{"handler": "respond", "body": "up"}],
        **extra,
    }


@AS_ROOT
@pytest.mark.parametrize("workers", [0, 2])
def test_children_run_as_the_user(program: Start, free_port: Callable[[], int], workers: int) -> None:
    port = free_port()
    one = program(config=answering(port, workers, user="nobody"))
    assert get(port)[0] == 200
    one.wait_for("npserver 1")
    for pid in worker_pids(one) or [one.process.pid]:
        status = Path(f"/proc/{pid}/status").read_text()
        uid = re.search(r"^Uid:\t(\d+)\t(\d+)\t(\d+)", status, re.MULTILINE)
        assert uid is not None
        assert set(uid.groups()) == {"65534"}


@AS_ROOT
def test_keys_that_only_root_may_read(
    program: Start, free_port: Callable[[], int], certificates: Callable[..., Any], tmp_path: Path
) -> None:
    """Neither the user nor its group may look into the directory; reloads and renewals work all the same."""
    assert tmp_path.parent.stat().st_mode & 0o077 == 0
    port, certificate = free_port(), certificates()
    config = {
        "listen": [f"https://127.0.0.1:{port}"],
        "tls": certificate.config,
        "user": "nobody",
        "workers": 2,
        "dispatch": [{"handler": "respond", "body": "old"}],
    }
    certificate.key.chmod(0o600)
    one = program(config=config)

    def ask() -> tuple[bytes, Any]:
        with socket.create_connection(("127.0.0.1", port), 30) as raw:
            with certificate.client().wrap_socket(raw, server_hostname="localhost") as secure:
                secure.sendall(b"GET / HTTP/1.0\r\n\r\n")
                data = b"".join(iter(lambda: secure.recv(4096), b""))
                return data[-3:], secure.getpeercert()["serialNumber"]  # type: ignore[index]

    word, serial = ask()
    assert word == b"old"
    config["dispatch"] = [{"handler": "respond", "body": "new"}]
    one.configure(config)
    one.send_signal(signal.SIGHUP)
    one.wait_until(lambda: ask() == (b"new", serial), "the new answer")
    renewed = certificates()
    for part in ("cert", "key"):
        getattr(renewed, part).replace(getattr(certificate, part))
    one.wait_until(lambda: ask()[1] != serial, "the new certificate")
    one.wait_until(lambda: len({ask()[1] for _ in range(8)}) == 1, "the new certificate in all workers")
    one.send_signal(signal.SIGHUP)
    one.wait_until(lambda: one.errors.count("config reloaded") == 2, "the second reload")
    assert one.errors.count("changed and was loaded") == 1


@AS_ROOT
def test_log_in_a_directory_of_roots(program: Start, free_port: Callable[[], int], socket_dir: Path) -> None:
    socket_dir.chmod(0o755)
    log = socket_dir / "access.log"
    port = free_port()
    one = program(config=answering(port, 1, user="nobody", logging={"access_log": str(log)}))
    get(port, "/before")
    one.wait_until(lambda: "/before" in log.read_text(), "the first line")
    log.rename(socket_dir / "access.log.1")
    one.send_signal(signal.SIGUSR1)
    one.wait_until(log.exists, "the new file")
    get(port, "/after")
    one.wait_until(lambda: "/after" in log.read_text(), "the second line")
    assert log.stat().st_uid == 65534


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("command", [[], ["check"]])
def test_an_unknown_user_is_an_error_at_the_start_and_for_check(
    program: Start, free_port: Callable[[], int], tmp_path: Path, command: list[str], workers: int
) -> None:
    file = tmp_path / "a.json"
    more = {"group": "none-at-all", "networks": {"lan": ["10.0.0.0/99"]}}
    file.write_text(json.dumps(answering(free_port(), workers, user="nobody-at-all", **more)))
    one = program(*command, "-config", str(file), wait=False)
    assert one.wait_exit() == 2
    assert re.fullmatch(
        r"\S+a\.json:1:\d+: unknown user 'nobody-at-all': create it, or name an existing one\n"
        r"\S+a\.json:1:\d+: unknown group 'none-at-all': create it, or name an existing one\n"
        r"\S+a\.json:1:\d+: network '10\.0\.0\.0/99'.*\n",
        one.errors,
    )
