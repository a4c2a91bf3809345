"""Targets are drained, and the program is replaced, under load of all kinds: nothing fails.

The long form, `NPSERVER_LOAD=20`, has twenty rounds, 200 WebSockets, 50 relays and 50 UDP sessions; the short one has a
tenth of these clients.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from soak.clients import Load
from soak.served import ZONE_ADDRESS, choose_ports, make_config
from soak.targets import Targets
from tests.stage.program import Program
from tests.stage.programs import needs
from tests.stage.upgrading import stop_successor, upgrade
from tests.stage.waiting import wait_until

ROUNDS = int(os.environ.get("NPSERVER_LOAD", 0))
PART = 1 if ROUNDS else 10
COUNTS = {"websocket": 200 // PART, "tcp": 50 // PART, "udp": 50 // PART}
CONNECTION_S, UDP_TIMEOUT_S = (6.0, 8) if ROUNDS else (2.0, 3)
EMPTY_WITHIN_S = 30.0  # connections, sessions and their time-out, on a busy machine

pytestmark = [needs("wrk", "dig"), pytest.mark.timeout(120 + 30 * ROUNDS)]


class Loaded:
    """A running server, the load on it, wrk and a loop of dig."""

    def __init__(
        self, program: Callable[..., Program], free_port: Callable[[], int], tls: Any, directory: Path, sockets: Path
    ) -> None:
        self.targets, ports = Targets(), choose_ports(free_port, sockets)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._run(self.targets.open())
        config = make_config(directory, ports, self.targets, tls.config, udp_timeout=f"{UDP_TIMEOUT_S}s")
        self.program = program(config=config, listens=[])
        self.program.wait_for("npserver 1")
        pause_s = 0.1 if PART > 1 else 0.5
        self.load = Load(ports, tls.client(), each=3, counts=COUNTS, pause_s=pause_s, connection_s=CONNECTION_S)
        self._loop.call_soon_threadsafe(self.load.start)
        url = f"http://127.0.0.1:{ports.http}/app/wrk"
        self._wrk = subprocess.Popen(
            ["wrk", "-t", "1", "-c", "4", "-d", "600s", "--timeout", "15s", url], stdout=subprocess.PIPE, text=True
        )
        self._is_over = threading.Event()
        self._is_left = True  # whether anything of the load may be open
        self.dug: list[str] = []
        self._digging = threading.Thread(target=self._dig, args=(ports.dns,))
        self._digging.start()

    def exchange(self) -> None:
        """Wait for exchanges of each kind."""
        before, dug = dict(self.load.done), len(self.dug)

        def have_come() -> bool:
            now = self.load.done
            is_all = len(now) == 8 and all(count >= before.get(kind, 0) + 6 for kind, count in now.items())
            return bool(self.load.failures) or (is_all and len(self.dug) > dug + 3)

        def story() -> str:
            return f"{self.load.done - Counter(before)}, {len(self.dug) - dug} of dig\n{self.program.errors}"

        wait_until(have_come, "exchanges of each kind", story=story)

    def end(self) -> None:
        """End the load, and see that nothing has failed."""
        self._wrk.send_signal(signal.SIGINT)
        said, _ = self._wrk.communicate(timeout=30)
        self._is_over.set()
        self._digging.join(30)
        self._run(self.load.stop())
        self._run(self.targets.close())
        self._is_left = False
        assert [f"{one.at:.2f} {one.client} {one.why}" for one in self.load.failures] == []
        assert set(self.dug) == {f"{ZONE_ADDRESS}\n"}
        found = re.search(r"(\d+) requests in", said)
        assert found is not None, said
        assert int(found[1]) > 100
        assert not re.search("Socket errors|Non-2xx", said), said
        assert "Traceback" not in self.program.errors

    def close(self) -> None:
        """Stop what is left of it."""
        self._is_over.set()
        self._wrk.kill()
        self._wrk.communicate()
        if self._is_left:
            asyncio.run_coroutine_threadsafe(self.load.abandon(), self._loop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        if not self._is_left:
            self._loop.close()  # which waits for all that is open in it

    def _run(self, awaitable: Any) -> None:
        asyncio.run_coroutine_threadsafe(awaitable, self._loop).result(40)

    def _dig(self, port: int) -> None:
        while not self._is_over.wait(0.02):
            words = ["dig", "@127.0.0.1", "-p", str(port), "+short", "+tries=1", "+timeout=6", "soak.test", "A"]
            self.dug.append(subprocess.run(words, capture_output=True, text=True, check=False).stdout)


@pytest.fixture
def loaded(
    program: Callable[..., Program],
    free_port: Callable[[], int],
    certificates: Callable[..., Any],
    tmp_path: Path,
    socket_dir: Path,
) -> Iterator[Loaded]:
    made = Loaded(program, free_port, certificates(), tmp_path, socket_dir)
    yield made
    made.close()


def test_targets_are_drained(loaded: Loaded) -> None:
    """One of two of each kind is empty in bounded time, and comes back."""
    one, targets = loaded.program, loaded.targets
    for number in range(max(ROUNDS, 1)):
        of_round = [
            f"http://127.0.0.1:{targets.http[number % 2].port}",
            f"http://127.0.0.1:{targets.websocket_ports[number % 2]}",
            f"tcp://127.0.0.1:{targets.tcp_ports[number % 2]}",
            f"udp://127.0.0.1:{targets.udp_ports[number % 2]}",
        ]
        loaded.exchange()
        begun = time.monotonic()
        draining = [one.begin_command("drain", target) for target in of_round]
        for command in draining:
            with command:
                said, _ = command.communicate(timeout=50)
            assert (command.returncode, said.splitlines()[-1]) == (0, "empty"), said
        assert time.monotonic() - begun < EMPTY_WITHIN_S
        loaded.exchange()
        for target in of_round:
            assert one.command("undrain", target)[0] == 0
    loaded.end()


def test_the_program_is_replaced(loaded: Loaded) -> None:
    """HTTP/1.1, 2 and 3, WebSockets, TCP relays, UDP sessions and DNS, before, while and after it is."""
    pid = 0
    for _ in range(max(ROUNDS, 2)):
        loaded.exchange()
        pid, _ = upgrade(loaded.program)
    loaded.exchange()
    loaded.end()
    stop_successor(pid)
    loaded.program.wait_exit()
