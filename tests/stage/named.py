"""The DNS of others in tests: a real BIND (`named`), on a free port of 127.0.0.1.

It serves its zones, takes updates of them that are signed, and asks npserver, at `our_port`, for all other names, as
the resolver of a CA would. All names below `elsewhere.test` have the address 127.0.0.1.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import dns.flags
import dns.message
import dns.query

from tests.stage.programs import find
from tests.stage.waiting import wait_until

KEYS = {
    "npserver": ("hmac-sha256", "bnBzZXJ2ZXItc2VjcmV0LW9mLWEtdGVzdC0xMjM0NTY3OA=="),
    "long": ("hmac-sha512", "bG9uZy1zZWNyZXQtb2YtYS10ZXN0LW9mLXRoZS1sb25nZXN0LWhhc2gtdGhlcmUtaXM="),
    "stranger": ("hmac-sha384", "c3RyYW5nZXItc2VjcmV0LW9mLWEtdGVzdC13aG8tbWF5LW5vdGhpbmc="),  # may change nothing
}
#: Zones that the keys may update, and one that nobody may.
UPDATED, REFUSED = "elsewhere.test", "refused.test"

_CONFIG = """
options {{
    directory "{directory}";
    listen-on port {port} {{ 127.0.0.1; }};
    listen-on-v6 {{ none; }};
    pid-file none;
    {more}
    session-keyfile none;
    recursion yes;
    allow-recursion {{ any; }};
    dnssec-validation no;
    empty-zones-enable no;
    max-ncache-ttl 0;
    notify no;
    forward only;
    forwarders {{ 127.0.0.1 port {our_port}; }};
}};
controls {{ }};
{keys}
zone "elsewhere.test" {{
    type primary;
    file "elsewhere.test";
    update-policy {{ grant npserver zonesub TXT; grant long zonesub TXT; }};
}};
zone "refused.test" {{ type primary; file "refused.test"; }};
"""
_KEY = """key "{}" {{ algorithm {}; secret "{}"; }};\n"""
_ZONE = """$TTL 300
@ SOA ns.{zone}. hostmaster.{zone}. 1 3600 600 86400 0
@ NS ns.{zone}.
@ A 127.0.0.1
* A 127.0.0.1
"""


class Named:
    """One running named.

    Attributes: `port`, `directory`.
    """

    def __init__(self, directory: Path, port: int, our_port: int, aliases: Sequence[tuple[str, str]]) -> None:
        directory.mkdir()
        self.port = port
        self.directory = directory
        self._log = directory / "log"
        self._command = self._prepare(our_port, aliases)
        self._process = self._start()

    def __repr__(self) -> str:
        return f"<Named {self.port} returncode={self._process.poll()}>"

    @property
    def log(self) -> str:
        """Everything that it has written so far."""
        return self._log.read_text(errors="replace")

    def texts(self, name: str) -> list[str]:
        """Return the texts of the TXT records of a name in its zones, sorted; none may be kept in caches."""
        answer = dns.query.tcp(self._question(name), "127.0.0.1", 5, self.port)
        assert all(found.ttl == 0 for found in answer.answer)
        return sorted(text.strings[0].decode() for found in answer.answer for text in found)

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(30)

    def start(self) -> None:
        """Start it again."""
        self._process = self._start()

    def _prepare(self, our_port: int, aliases: Sequence[tuple[str, str]]) -> list[str]:
        """Write its files. Return the command."""
        directory = self.directory
        keys = "".join(_KEY.format(name, *of_name) for name, of_name in KEYS.items())
        for zone in (UPDATED, REFUSED):
            lines = "".join(f"{name}. CNAME {target}.\n" for name, target in aliases if name.endswith(zone))
            (directory / zone).write_text(_ZONE.format(zone=zone) + lines)
        # A copy, because AppArmor has rules for the path of Debian's: it may not read files of tests.
        copy = directory / "named"
        shutil.copy(find("named") or "named", copy)
        version = subprocess.run([copy, "-V"], capture_output=True, text=True, timeout=60, check=True).stdout
        more = "lock-file none;" if version.startswith("BIND 9.18") else ""  # 9.20 has neither the file nor the option
        config = _CONFIG.format(directory=directory, port=self.port, our_port=our_port, keys=keys, more=more)
        (directory / "named.conf").write_text(config)
        return [str(copy), "-g", "-n", "1", "-c", str(directory / "named.conf")]

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                self._command, stdout=log, stderr=subprocess.STDOUT, env={"PATH": os.environ.get("PATH", os.defpath)}
            )
        self._process = process
        wait_until(self._answers, "named that answers", story=lambda: self.log, process=process.pid)
        return process

    def _answers(self) -> bool:
        assert self._process.poll() is None, f"named did not start\n{self.log}"
        try:
            answer = dns.query.udp(self._question(UPDATED), "127.0.0.1", 0.5, self.port)
            with socket.create_connection(("127.0.0.1", self.port), 1):
                return bool(answer.flags & dns.flags.AA)
        except (OSError, dns.exception.DNSException):
            return False

    @staticmethod
    def _question(name: str) -> dns.message.Message:
        return dns.message.make_query(name, "TXT", flags=0)


@contextmanager
def running_named(
    directory: Path, port: int, our_port: int, aliases: Sequence[tuple[str, str]] = ()
) -> Iterator[Named]:
    """Run named with files in `directory`, which must not exist yet. `aliases`: CNAME records of its zones."""
    named = Named(directory, port, our_port, aliases)
    try:
        yield named
    finally:
        named.stop()
