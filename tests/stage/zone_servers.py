"""NSD, Knot and BIND as primaries and as secondaries of one zone, `example.com`, with transfers signed by a key."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import dns.exception
import dns.message
import dns.query
import dns.zone

from tests.stage.programs import find
from tests.stage.waiting import wait_until

ALGORITHM = "hmac-sha256"


class ZoneServer:
    """One of the programs on 127.0.0.1.

    `other`: the port of the server that is its primary, or its secondary. `is_keyed`: whether messages are signed.
    """

    program: ClassVar[str]
    #: The arguments, with the directory in place of `{}`.
    arguments: ClassVar[tuple[str, ...]]
    config_file: ClassVar[str]
    as_primary: ClassVar[str]
    as_secondary: ClassVar[str]
    common: ClassVar[str]
    #: What is in the texts of the config in place of others, for messages without signatures.
    unkeyed: ClassVar[tuple[tuple[str, str], ...]]

    def __init__(
        self, directory: Path, port: int, other: int, secret: str, zone: str | None = None, *, is_keyed: bool = True
    ) -> None:
        self.directory, self.port = directory, port
        directory.mkdir()
        (directory / "db").mkdir()
        self.file = directory / "example.com.zone"
        values = {"port": port, "other": other, "secret": secret, "directory": directory, "file": self.file}
        text = self.common + (self.as_secondary if zone is None else self.as_primary)
        for keyed, plain in () if is_keyed else self.unkeyed:
            text = text.replace(keyed, plain)
        for name, value in values.items():
            text = text.replace(f"%{name}%", str(value))
        (directory / self.config_file).write_text(text)
        if zone is not None:
            self.file.write_text(zone)
        self._log = open(directory / "output", "w")  # noqa: SIM115 - closed with the process
        words = [word.replace("{}", str(directory)) for word in self.arguments]
        self.process = subprocess.Popen(
            [find(self.program) or self.program, *words], stdout=self._log, stderr=self._log, cwd=directory
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} :{self.port}>"

    def reload(self, zone: str) -> None:
        """Serve another zone file."""
        new = self.file.with_suffix(".new")
        new.write_text(zone)
        os.replace(new, self.file)
        self.process.send_signal(signal.SIGHUP)

    def serial(self) -> int:
        """Return the serial that it answers; 0 if it does not have the zone."""
        query = dns.message.make_query("example.com", "SOA")
        try:
            reply = dns.query.udp(query, "127.0.0.1", port=self.port, timeout=2)
        except (dns.exception.DNSException, OSError):
            return 0
        return reply.answer[0][0].serial if reply.answer else 0

    def records(self) -> list[str]:
        """Return all records that it has; none if it has just begun anew, as NSD does after each change."""
        zone = dns.zone.Zone("example.com", relativize=False)
        try:
            dns.query.inbound_xfr("127.0.0.1", zone, port=self.port, lifetime=20)
        except ConnectionError:
            return []
        return sorted(f"{name} {ttl} {rdata.rdtype.name} {rdata}".lower() for name, ttl, rdata in zone.iterate_rdatas())

    def wait_for(self, serial: int) -> None:
        """Wait until it answers a serial."""
        self.wait_until(lambda: self.serial() == serial, f"serial {serial}")

    def wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait until something is so; a failure tells what it has said."""
        wait_until(is_so, what, 30, self.output, process=self.process.pid)

    def output(self) -> str:
        """Return what it has said."""
        return (self.directory / "output").read_text(errors="replace")[-5000:]

    def close(self) -> None:
        """End the process."""
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()


class Nsd(ZoneServer):
    """NSD; as a primary it keeps differences for IXFR."""

    program = "nsd"
    unkeyed = (("%other% xfr", "%other% NOKEY"), ("allow-notify: 127.0.0.1 xfr", "allow-notify: 127.0.0.1 NOKEY"))
    arguments = ("-d", "-c", "{}/nsd.conf")
    config_file = "nsd.conf"
    common = """server:
  ip-address: 127.0.0.1@%port%
  server-count: 1
  username: ""
  chroot: ""
  zonesdir: "%directory%"
  database: ""
  pidfile: "%directory%/pid"
  xfrdfile: "%directory%/xfrd"
  zonelistfile: "%directory%/zones"
  xfrdir: "%directory%"
  xfrd-reload-timeout: 0
  rrl-ratelimit: 0
  verbosity: 2
remote-control:
  control-enable: no
key:
  name: xfr
  algorithm: hmac-sha256
  secret: "%secret%"
zone:
  name: example.com
  zonefile: "%file%"
  provide-xfr: 127.0.0.1 NOKEY
  provide-xfr: 127.0.0.1 xfr
"""
    as_primary = "  notify: 127.0.0.1@%other% xfr\n  store-ixfr: yes\n  create-ixfr: yes\n"
    as_secondary = "  request-xfr: 127.0.0.1@%other% xfr\n  allow-notify: 127.0.0.1 xfr\n"


class Knot(ZoneServer):
    """Knot, which makes its journal of the differences of zone files."""

    program = "knotd"
    unkeyed = (("    key: xfr\nacl", "acl"), ("    action: transfer\n", "    action: [transfer, notify]\n"))
    arguments = ("-c", "{}/knot.conf")
    config_file = "knot.conf"
    common = """server:
    listen: 127.0.0.1@%port%
    rundir: "%directory%"
    identity: ""
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: info
database:
    storage: "%directory%/db"
    journal-db-max-size: 100M
    kasp-db-max-size: 50M
    timer-db-max-size: 20M
key:
  - id: xfr
    algorithm: hmac-sha256
    secret: "%secret%"
remote:
  - id: other
    address: 127.0.0.1@%other%
    key: xfr
acl:
  - id: signed
    key: xfr
    action: [transfer, notify]
  - id: plain
    address: 127.0.0.1
    action: transfer
zone:
  - domain: example.com
    file: "%file%"
    acl: [signed, plain]
"""
    as_primary = "    notify: other\n    zonefile-load: difference\n    journal-content: changes\n"
    as_secondary = "    master: other\n    zonefile-sync: -1\n"


class Bind(ZoneServer):
    """BIND."""

    program = "named"
    unkeyed = (('%other% key "xfr"', "%other%"),)
    arguments = ("-g", "-c", "{}/named.conf")
    config_file = "named.conf"
    common = """options {
    directory "%directory%";
    pid-file "%directory%/pid";
    session-keyfile "%directory%/session.key";
    listen-on port %port% { 127.0.0.1; };
    listen-on-v6 { none; };
    recursion no;
    dnssec-validation no;
    notify-delay 0;
    serial-query-rate 100;
    notify-rate 100;
    startup-notify-rate 100;
};
controls {};
key "xfr" { algorithm hmac-sha256; secret "%secret%"; };
"""
    as_primary = """zone "example.com" {
    type primary;
    file "%file%";
    allow-transfer { 127.0.0.1; key "xfr"; };
    notify explicit;
    also-notify { 127.0.0.1 port %other% key "xfr"; };
    ixfr-from-differences yes;
};
"""
    as_secondary = """zone "example.com" {
    type secondary;
    file "%directory%/copy";
    masterfile-format text;
    primaries { 127.0.0.1 port %other% key "xfr"; };
    allow-transfer { 127.0.0.1; };
    notify no;
    request-ixfr yes;
};
"""


class SigningKnot(Knot):
    """Knot as a primary that signs the zone by one key, with NSEC."""

    common = Knot.common.replace(
        "zone:\n",
        """policy:
  - id: one
    single-type-signing: on
    algorithm: ecdsap256sha256
    nsec3: off
    nsec3-iterations: 0
    nsec3-salt-length: 0
    cds-cdnskey-publish: none
zone:
""",
    )
    as_primary = (
        "    notify: other\n    zonefile-load: difference-no-serial\n    journal-content: all\n    zonefile-sync: -1\n"
        "    dnssec-signing: on\n    dnssec-policy: one\n"
    )


class HashingKnot(SigningKnot):
    """The same with NSEC3."""

    common = SigningKnot.common.replace("nsec3: off", "nsec3: on")


class SigningBind(Bind):
    """BIND as a primary that signs the zone by one key, with NSEC."""

    as_primary = Bind.as_primary.replace("ixfr-from", "dnssec-policy default;\n    inline-signing yes;\n    ixfr-from")


SERVERS: dict[str, type[ZoneServer]] = {"nsd": Nsd, "knotd": Knot, "named": Bind}
#: Those that sign, as primaries.
SIGNERS: dict[str, type[ZoneServer]] = {"knot-nsec": SigningKnot, "knot-nsec3": HashingKnot, "bind": SigningBind}


@contextmanager
def running(
    program: str, directory: Path, port: int, other: int, secret: str, zone: str | None = None, *, is_keyed: bool = True
) -> Iterator[ZoneServer]:
    """Run one of `SERVERS` or `SIGNERS`: a primary if it has a zone, else a secondary."""
    server = {**SERVERS, **SIGNERS}[program](directory, port, other, secret, zone, is_keyed=is_keyed)
    try:
        yield server
    finally:
        server.close()
