"""The daily change of the session ticket keys, in the whole program with two workers, whose clock is moved.

Covers `tls.store`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stage.asking import worker_pids
from tests.stage.clock import Clock
from tests.stage.program import Program
from tests.stage.programs import needs

pytestmark = needs("openssl")

TRUSTING_NOBODY = (
    "-no-CAfile",
    "-no-CApath",
    "-no-CAstore",
)  # it verifies nothing, and reads no store
CONNECTIONS = 12  # the chance that all of them meet the same of two workers is one in two thousand
CHANGED = "session ticket keys replaced"


class Client:
    """OpenSSL's own client, with one version of TLS and one server name."""

    def __init__(self, port: int, version: str, name: str, directory: Path) -> None:
        self._command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", version, "-servername", name]
        self._directory = directory

    def begin(self, session: str) -> str:
        """Begin a session and keep it by this name; return the name of the keys of its ticket, in hexadecimal."""
        said = self._connect("-sess_out", str(self._directory / session))
        assert "New, TLS" in said
        found = re.search(r"TLS session ticket:\n\s+0000 - ((?:[0-9a-f]{2}[ -]){16})", said)
        assert found is not None, said
        return re.sub("[^0-9a-f]", "", found[1])

    def resumes(self, session: str) -> list[bool]:
        """Offer this session to many connections; return whether each has resumed it."""
        said = [self._connect("-sess_in", str(self._directory / session)) for _ in range(CONNECTIONS)]
        assert all("New, TLS" in one or "Reused, TLS" in one for one in said)
        return ["Reused, TLS" in one for one in said]

    def _connect(self, *more: str) -> str:
        request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        command = [*self._command, *TRUSTING_NOBODY, "-ign_eof", *more]
        done = subprocess.run(command, input=request, capture_output=True, timeout=20, check=False)
        assert b"HTTP/1.1 200" in done.stdout, done.stdout + done.stderr
        return done.stdout.decode(errors="replace")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_the_keys_change_daily_and_sessions_go_on(
    program: Callable[..., Program], free_port: Callable[[], int], certificates: Callable[..., Any], tmp_path: Path,
    version: str,
) -> None:  # fmt: skip
    """Also for a certificate that a reload has brought, and at a worker that was started since."""
    port, clock = free_port(), Clock(tmp_path)
    first, added = certificates("first.example"), certificates("added.example")
    rule = {"handler": "respond", "body": "served"}
    config = {"listen": [f"https://127.0.0.1:{port}"], "workers": 2, "dispatch": [rule]}
    running = program(config={**config, "tls": [first.config]}, env=clock.environment)
    running.configure({**config, "tls": [first.config, added.config]})
    running.send_signal(signal.SIGHUP)
    running.wait_for("config reloaded")

    clients = [Client(port, version, f"{name}.example", tmp_path) for name in ("first", "added")]
    clock.set("+23h")
    before = [client.begin(f"before-{number}") for number, client in enumerate(clients)]
    assert [all(client.resumes(f"before-{number}")) for number, client in enumerate(clients)] == [True, True]
    assert CHANGED not in running.errors

    clock.set("+24h")
    running.wait_for(CHANGED)

    def do_all_resume(prefix: str) -> bool:
        return all(all(client.resumes(f"{prefix}-{number}")) for number, client in enumerate(clients))

    running.wait_until(lambda: do_all_resume("before"), "sessions of the previous keys")
    after = [client.begin(f"after-{number}") for number, client in enumerate(clients)]
    assert len({*before, *after}) == 4, "keys by certificate and day"
    assert do_all_resume("after")

    victim = worker_pids(running)[0]
    os.kill(victim, signal.SIGKILL)
    running.wait_until(lambda: victim not in running.children() and len(running.children()) == 3, "another worker")
    assert do_all_resume("before") and do_all_resume("after")

    running.forget_errors()
    clock.set("+48h")
    running.wait_for_new(CHANGED)
    running.wait_until(lambda: not any(clients[0].resumes("before-0")), "the end of the first keys")
