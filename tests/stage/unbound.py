"""Resolvers of others in tests: real unbound and dnsmasq processes on free ports of 127.0.0.1, which ask nobody."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import dns.message
import dns.query

from tests.stage.ports import free_port
from tests.stage.programs import find
from tests.stage.waiting import wait_until

_UNBOUND = """
server:
    directory: "{directory}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    logfile: "{directory}/unbound.log"
    verbosity: 1
    log-queries: yes
    do-daemonize: no
    num-threads: 1
    module-config: "iterator"
    port: {port}
    interface: 127.0.0.1@{port}
    interface: 127.0.0.1@{tls}
    interface: 127.0.0.1@{https}
    tls-port: {tls}
    https-port: {https}
    tls-service-key: "{key}"
    tls-service-pem: "{cert}"
    access-control: 127.0.0.0/8 allow
    do-not-query-localhost: no
    ede: yes
{data}
remote-control:
    control-enable: no
"""


class ResolverProgram:
    """A running resolver, which logs each query to a file."""

    def __init__(self, command: Sequence[str], port: int, log: Path, probe: str) -> None:
        self.port = port
        self.log = log
        self._command = command
        self._probe = probe
        self.start()

    def start(self) -> None:
        """Start the program, and wait until it answers."""
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, f"answer of {self._command[0]}", process=self.process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def asked(self, name: str) -> int:
        """Return how often the log has a name as that of a query."""
        return sum((f" {name} " in line and " query" in line) or f"{name}. " in line for line in self._lines())

    def _lines(self) -> list[str]:
        return self.log.read_text().lower().splitlines()

    def _answers(self) -> bool:
        assert self.process.poll() is None, f"{self._command[0]} has ended"
        try:
            dns.query.udp(dns.message.make_query(self._probe, "A"), "127.0.0.1", port=self.port, timeout=0.5)
        except (OSError, dns.exception.Timeout):
            return False
        return True


class Unbound(ResolverProgram):
    """unbound over UDP, TCP, TLS and HTTPS, with local data.

    Attributes: `tls`, `https` (ports).
    """

    def __init__(self, directory: Path, certificate: Any, data: Sequence[str]) -> None:
        directory.mkdir()
        port, self.tls, self.https = free_port(), free_port(), free_port()
        lines = [f"    {line}" for line in data]
        file = directory / "unbound.conf"
        file.write_text(
            _UNBOUND.format(
                directory=directory, port=port, tls=self.tls, https=self.https,
                key=certificate.key, cert=certificate.cert, data="\n".join(lines),
            )
        )  # fmt: skip
        program = find("unbound")
        assert program is not None
        super().__init__([program, "-d", "-c", str(file)], port, directory / "unbound.log", "probe.invalid")


class Dnsmasq(ResolverProgram):
    """dnsmasq with lines of its config."""

    def __init__(self, directory: Path, lines: Sequence[str]) -> None:
        directory.mkdir()
        port = free_port()
        file, log = directory / "dnsmasq.conf", directory / "dnsmasq.log"
        common = ["listen-address=127.0.0.1", "bind-interfaces", "no-resolv", "no-hosts", "log-queries", "user="]
        file.write_text("\n".join([*common, f"port={port}", f"log-facility={log}", "pid-file=", *lines, ""]))
        program = find("dnsmasq")
        assert program is not None
        super().__init__([program, "-k", "-C", str(file)], port, log, "probe.invalid")
