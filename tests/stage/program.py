"""The real npserver as a child process: started, watched, and ended in an orderly way."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tests.stage.ports import takes_datagrams
from tests.stage.waiting import wait_until

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
START_S = 30.0  # deadlines are generous: they only bound what a broken program costs
STOP_S = 30.0
COMMAND_S = 50.0
_URI = re.compile(r"(?:https?|tcp|udp|ssl|quic|unix|unixgram)://")


class Program:
    """One running npserver.

    Attributes: `process` (subprocess.Popen), `directory` (its working directory), `config_file` (None without config),
    `listens` (the URIs it was told to listen on), `output` (stdout, with the access log), `errors` (stderr).
    """

    def __init__(
        self,
        arguments: list[str],
        directory: Path,
        config: Mapping[str, Any] | str | None,
        environment: Mapping[str, str],
        listens: list[str] | None = None,
    ) -> None:
        self.directory = directory
        self.config_file: Path | None = None
        self._read = 0  # characters of stderr before `forget_errors`
        if config is not None:
            self.config_file = directory / "npserver.json"
            self.configure(config)
            arguments = ["-config", str(self.config_file), *arguments]
        self.listens = listens if listens is not None else _listens(arguments, config)
        self._number = sum(1 for _ in directory.glob("*.stderr"))
        self._stdout = directory / f"{self._number}.stdout"
        self._stderr = directory / f"{self._number}.stderr"
        with self._stdout.open("wb") as out, self._stderr.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "npserver", *arguments],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
                start_new_session=True,
            )

    def __repr__(self) -> str:
        return f"<Program {self.process.pid} {' '.join(self.listens)} returncode={self.process.poll()}>"

    # ── what it says ──

    @property
    def output(self) -> str:
        """Return everything written to stdout so far."""
        return self._stdout.read_text(errors="replace")

    @property
    def errors(self) -> str:
        """Return everything written to stderr so far."""
        return self._stderr.read_text(errors="replace")

    def wait_for(self, pattern: str, deadline_s: float = 30.0) -> re.Match[str]:
        """Wait until stdout or stderr holds a match of the regular expression `pattern`."""
        return self._wait_for_output(
            lambda: re.search(pattern, self.output, re.MULTILINE) or re.search(pattern, self.errors, re.MULTILINE),
            f"output matching {pattern!r}",
            deadline_s,
        )

    def forget_errors(self) -> None:
        """Let `new_errors` begin here."""
        self._read = len(self.errors)

    @property
    def new_errors(self) -> str:
        """Return what was written to stderr since `forget_errors`."""
        return self.errors[self._read :]

    def wait_for_new(self, pattern: str, deadline_s: float = 30.0) -> re.Match[str]:
        """Wait until stderr holds a match since `forget_errors`."""
        return self._wait_for_output(
            lambda: re.search(pattern, self.new_errors, re.MULTILINE), f"new line matching {pattern!r}", deadline_s
        )

    def wait_until(self, is_so: Callable[[], T | None], what: str, deadline_s: float = 30.0) -> T:
        """Wait until `is_so()` returns something true, and return it."""
        return wait_until(is_so, what, deadline_s, self._story, process=self.process.pid)

    # ── what happens to it ──

    def configure(self, config: Mapping[str, Any] | str) -> None:
        """Replace the config file, whole or not at all; `send_signal(SIGHUP)` makes the program read it."""
        assert self.config_file is not None
        fresh = self.config_file.with_suffix(".new")
        fresh.write_text(config if isinstance(config, str) else json.dumps(config, indent=1))
        fresh.replace(self.config_file)

    def command_line(self, *words: str) -> list[str]:
        """Return the command line of a command of npserver about the server with this config."""
        return [sys.executable, "-m", "npserver", *words, "-config", str(self.config_file)]

    def begin_command(self, *words: str) -> subprocess.Popen[str]:
        """Begin a command of npserver about the server with this config. Its `stdout` has what both streams say."""
        return subprocess.Popen(
            self.command_line(*words),
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def command(self, *words: str) -> tuple[int, str]:
        """Run a command of npserver about the server with this config. Return its exit status and all that it says."""
        with self.begin_command(*words) as running:
            try:
                said, _ = running.communicate(timeout=COMMAND_S)
            except subprocess.TimeoutExpired:
                running.kill()
                raise
            return running.returncode, said

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the master."""
        self.process.send_signal(number)

    def wait_ready(self) -> None:
        """Wait until every listener is bound; connections are then queued at the least."""
        self.wait_until(self._is_ready_or_dead, "bound listeners", START_S)
        assert self.process.poll() is None, f"npserver ended at the start\n{self._story()}"

    def has_found_its_port_in_use(self) -> bool:
        """Return whether it has ended because another program had its port."""
        self.wait_until(self._is_ready_or_dead, "bound listeners", START_S)
        return self.process.poll() is not None and "is in use: end that program" in self.errors

    def children(self) -> list[int]:
        """Return the process ids of controller and workers."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]

    def wait_exit(self, deadline_s: float = STOP_S) -> int:
        """Wait for the end and return the exit status."""
        try:
            return self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {deadline_s} s\n{self._story()}") from None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it by a signal and assert that it ended well: status 0, no traceback, no process left."""
        if self.process.poll() is None:
            self.send_signal(number)
        status = self.wait_exit()
        assert status == 0, f"exit status {status}\n{self._story()}"
        assert "Traceback" not in self.errors, self._story()
        assert not self._is_session_alive(), f"processes were left behind\n{self._story()}"

    def kill(self) -> None:
        """End the whole process group at once, whatever state it is in."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    # ── private ──

    def _wait_for_output(self, is_so: Callable[[], T | None], what: str, deadline_s: float) -> T:
        return wait_until(is_so, what, deadline_s, self._story, directory=self.directory)

    def _is_ready_or_dead(self) -> bool:
        return self.process.poll() is not None or all(map(_is_bound, self.listens))

    def _is_session_alive(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _story(self) -> str:
        return f"{self!r}\n── stdout ──\n{self.output[-4000:]}\n── stderr ──\n{self.errors[-8000:]}"


def _listens(arguments: list[str], config: Mapping[str, Any] | str | None) -> list[str]:
    """Return the URIs listened on, from the command line or the config."""
    found = [
        argument
        for before, argument in zip(["", *arguments], arguments, strict=False)
        if _URI.match(argument) and before.lstrip("-") not in ("to", "L")
    ]
    if isinstance(config, Mapping):
        found += [entry if isinstance(entry, str) else entry["uri"] for entry in config.get("listen", [])]
    return found


def _is_bound(uri: str) -> bool:
    """Return whether a socket of the listener `uri` exists, without connecting to it."""
    parts = urlsplit(uri)
    if parts.scheme in ("unix", "unixgram"):
        return Path(parts.path).is_socket()
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    if parts.scheme in ("udp", "quic"):
        return any(takes_datagrams(host, port) for host in ([parts.hostname] if parts.hostname else ["0.0.0.0", "::"]))
    family = socket.AF_INET6 if (parts.hostname or "").count(":") else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((parts.hostname or "0.0.0.0", port))
        except OSError:
            return True
    return False
