"""Runs a contender: fills in its config, starts its process, waits until it serves, stops it."""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from bench import accounting, material
from bench.machine import ROOT, RUN, SERVER_CORE, pinned
from bench.peers import ALL, PEERS

START_S = 30.0
STOP_S = 0.5  # nothing is lost by killing it then


class Server:
    """One peer in one role, on a port of its own."""

    def __init__(
        self,
        peer: str,
        role: str,
        *,
        is_ready: Callable[[int], bool],
        places: Mapping[str, str] | None = None,
        core: int | str = SERVER_CORE,
    ) -> None:
        self.port = free_port()
        self.peer = ALL[peer]
        self.directory = RUN / "servers" / f"{peer}-{role}"
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self.start_s = 0.0  # from exec until ready
        self._is_ready = is_ready
        template = self.peer.config(role)
        assert template is not None, f"{peer} has no config for {role}"
        self._places = {
            "port": str(self.port),
            "directory": str(self.directory),
            "material": str(material.FOLDER),
            "site": str(material.SITE),
            "cert": str(material.FOLDER / "cert.pem"),
            "key": str(material.FOLDER / "key.pem"),
            "root": str(ROOT),
            "peers": str(PEERS),
            # What the limit of open files allows: two each, or with a pipe for splicing three.
            "connections": str(file_limit() // 2 - 200),
            "relays": str(file_limit() // 3 - 100),
            **(places or {}),
        }
        config = self.directory / template.name
        config.write_text(self._fill(template.read_text()))
        self._places["config"] = str(config)
        arguments = shlex.split(config.read_text()) if template.suffix == ".args" else []
        self._command = pinned(core, [*map(self._fill, self.peer.command), *arguments])
        self._log = self.directory / "output.log"

    def __enter__(self) -> Self:
        environment = {**os.environ, **{name: self._fill(value) for name, value in self.peer.environment.items()}}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # users start from compiled modules
        begin = time.perf_counter()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                start_new_session=True,
            )  # fmt: skip
        while not self._is_ready(self.port):
            self.start_s = time.perf_counter() - begin
            if self._process.poll() is not None or self.start_s > START_S:
                self._kill()
                raise RuntimeError(f"{self.peer.name} did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.002)
        self.start_s = time.perf_counter() - begin
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            pass
        self._kill()

    def cpu_s(self) -> float:
        """Return the CPU time of all its processes so far."""
        return accounting.cpu_s(self._process.pid)

    def memory_bytes(self) -> int:
        """Return the memory of all its processes."""
        return accounting.memory_bytes(self._process.pid)

    def _fill(self, text: str) -> str:
        for name, value in self._places.items():
            text = text.replace(f"@{name}@", value)
        return text

    def _kill(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()


def file_limit() -> int:
    """Return how many files a process may have open."""
    return min(100_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def free_port() -> int:
    """Return a port that is free for TCP and UDP, below the kernel's range for outgoing connections."""
    for port in range(21_000 + os.getpid() % 500 * 10, 32_000):
        if port in _given:
            continue
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        _given.add(port)
        return port
    raise RuntimeError("no free port")


_given: set[int] = set()


def accepts(port: int) -> bool:
    """Return whether something accepts connections on `port`."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def answers_http(port: int) -> bool:
    """Return whether `port` answers an HTTP request."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as probe:
            probe.sendall(b"GET / HTTP/1.1\r\nHost: bench.test\r\nConnection: close\r\n\r\n")
            return probe.recv(64).startswith(b"HTTP/1.1 ")
    except OSError:
        return False


def answers_dns(port: int) -> bool:
    """Return whether `port` answers for the benchmark's zone, with records rather than an error."""
    query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05host0\x05bench\x04test\x00\x00\x01\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.2)
        try:
            probe.connect(("127.0.0.1", port))
            probe.send(query)
            answer = probe.recv(512)
        except OSError:
            return False
        return answer[:2] == b"\x12\x34" and answer[3] & 15 == 0 and answer[7] == 1


def blocks_dns(port: int) -> bool:
    """Return whether `port` answers that a name of `material.block_list` does not exist: the list is in force."""
    query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02a7\x04ads7\x07example\x00\x00\x01\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.2)
        try:
            probe.connect(("127.0.0.1", port))
            probe.send(query)
            answer = probe.recv(512)
        except OSError:
            return False
        return answer[:2] == b"\x12\x34" and answer[3] & 15 == 3


def is_udp_bound(port: int) -> bool:
    """Return whether a process holds the UDP port."""
    wanted = f"0100007F:{port:04X}"
    return any(line.split()[1] == wanted for line in Path("/proc/net/udp").read_text().splitlines()[1:])
