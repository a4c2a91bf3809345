"""A real BIND on a free port of 127.0.0.1 with one zone that may be updated and transferred."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.zone

from tests.stage.programs import find
from tests.stage.waiting import wait_until


class BindZone:
    """A server of `example.com`."""

    def __init__(self, directory: Path, port: int, zone: str) -> None:
        self.port = port
        (directory / "zone").write_text(zone)
        version = subprocess.run(["named", "-V"], capture_output=True, text=True, timeout=60, check=True).stdout
        more = "lock-file none;" if version.startswith("BIND 9.18") else ""  # 9.20 has neither the file nor the option
        (directory / "named.conf").write_text(
            f"""options {{
  directory "{directory}"; pid-file none; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  recursion no; dnssec-validation no; {more} minimal-responses yes; notify no; session-keyfile none;
}};
controls {{ }};
zone "example.com" {{ type primary; file "zone"; allow-update {{ 127.0.0.1; }}; allow-transfer {{ any; }}; }};
"""
        )
        # A copy, because AppArmor has rules for the path of Debian's: it may not read files of tests.
        copy = directory / "named"
        shutil.copy(find("named") or "named", copy)
        with (directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(copy), "-g", "-n", "1", "-c", str(directory / "named.conf"), "-p", str(port)], stderr=log
            )
        wait_until(self._answers, "answer of named", process=self._process.pid)

    def ask(self, message: dns.message.Message) -> dns.message.Message:
        return dns.query.tcp(message, "127.0.0.1", port=self.port, timeout=20)

    def zone(self) -> dns.zone.Zone:
        """Return the zone as it is now."""
        found = dns.zone.Zone("example.com", relativize=False)
        dns.query.inbound_xfr("127.0.0.1", found, port=self.port, lifetime=20)
        return found

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(20)

    def _answers(self) -> bool:
        assert self._process.poll() is None, "named did not start"
        try:
            query = dns.message.make_query("example.com", "SOA")
            return bool(dns.query.udp(query, "127.0.0.1", port=self.port, timeout=1).answer)
        except (OSError, dns.exception.Timeout):
            return False
