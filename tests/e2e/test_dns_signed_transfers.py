"""The signed zone of the program at NSD, Knot and BIND: they get what has changed alone, and have the same zone.

Under change of the zone file, after a signature refresh and in roll-overs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dns.query
import dns.zone
import pytest

from npserver.cli.dns import main
from tests.e2e.test_dns_presigned import shown_serial, verify, zone_text
from tests.e2e.test_dns_transfers import KEYS, SECRET
from tests.e2e.test_dns_zones import config
from tests.stage.clock import Clock
from tests.stage.program import Program
from tests.stage.programs import needs
from tests.stage.waiting import wait_until
from tests.stage.zone_servers import ZoneServer, running

Start = Callable[..., Program]
pytestmark = needs("nsd", "knotd", "named", "ldns-verify-zone")
INCREMENTAL = "sending changes of zone example.com. to 127.0.0.1"
WHOLE = "sending zone example.com. to 127.0.0.1"


class Signed:
    """The program with a signed zone file, and a secondary."""

    def __init__(self, one: Program, secondary: ZoneServer, port: int, directory: Path) -> None:
        self.program, self.secondary, self.port, self.directory = one, secondary, port, directory

    def agree(self, is_other_than: int = 0) -> int:
        """Wait until the secondary has the zone that is served; return the serial."""
        self.program.wait_until(lambda: shown_serial(self.port) != is_other_than, "the change")
        wait_until(
            lambda: (
                self.secondary.serial() == shown_serial(self.port) > 0 and self.secondary.records() == self.records()
            ),
            "the same zone",
            story=self.story,
        )
        verify(self.secondary.port, self.directory / "copy")
        return shown_serial(self.port)

    def story(self) -> str:
        serials = f"serials {shown_serial(self.port)} and {self.secondary.serial()}"
        return f"{serials}\n{self.program.errors}\n{self.secondary.output()}"

    own = 0

    def records(self) -> list[str]:
        self.own += 1
        found = dns.zone.Zone("example.com", relativize=False)
        dns.query.inbound_xfr("127.0.0.1", found, port=self.port, lifetime=20)
        return sorted(
            f"{name} {ttl} {rdata.rdtype.name} {rdata}".lower() for name, ttl, rdata in found.iterate_rdatas()
        )

    def sent(self, text: str) -> int:
        """Return how often something was sent to the secondary; what the test transfers itself is whole."""
        return self.program.errors.count(text) - (self.own if text == WHOLE else 0)


@contextmanager
def signed(
    program: Start,
    free_port: Callable[[], int],
    tmp_path: Path,
    server: str,
    *,
    is_keyed: bool = True,
    **environment: Any,
) -> Iterator[Signed]:
    ports, file = (free_port(), free_port()), tmp_path / "zone"
    file.write_text(zone_text(7))
    zone = {
        "name": "example.com",
        "file": str(file),
        "dnssec": {"keys": "ksk-zsk", "denial": "nsec3" if server == "knotd" else "nsec"},
        "notify": {"address": f"127.0.0.1:{ports[1]}", **({"key": "xfr"} if is_keyed else {})},
        "allow_transfer": ["key:xfr", "127.0.0.1"],
    }
    made = config(ports[0], dns_zones=[zone], dns_keys=KEYS, store=str(tmp_path / "store"), dns={})
    one = program(config=made, **environment)
    with running(server, tmp_path / "secondary", ports[1], ports[0], SECRET, is_keyed=is_keyed) as secondary:
        stage = Signed(one, secondary, ports[0], tmp_path)
        stage.agree()
        yield stage


@pytest.mark.parametrize("server", ["nsd", "knotd", "named"])
def test_changes_of_the_zone(program: Start, free_port: Callable[[], int], tmp_path: Path, server: str) -> None:
    with signed(program, free_port, tmp_path, server) as stage:
        whole, serial = stage.sent(WHOLE), stage.agree()
        for number in (8, 9, 10):
            (tmp_path / "zone").write_text(zone_text(number))
            serial = stage.agree(serial)
        assert stage.sent(WHOLE) == whole, stage.program.errors
        assert stage.sent(INCREMENTAL) >= 3


@pytest.mark.parametrize("server", ["nsd", "knotd", "named"])
def test_a_new_key(program: Start, free_port: Callable[[], int], tmp_path: Path, server: str) -> None:
    with signed(program, free_port, tmp_path, server) as stage:
        whole, serial = stage.sent(WHOLE), stage.agree()
        assert main(["roll", "example.com", "-zsk", "-config", str(stage.program.config_file)]) == 0
        serial = stage.agree(serial)
        assert stage.sent(WHOLE) == whole, stage.program.errors
        assert stage.sent(INCREMENTAL) >= 1


@pytest.mark.parametrize("server", ["nsd", "knotd", "named"])
def test_renewed_signatures(program: Start, free_port: Callable[[], int], tmp_path: Path, server: str) -> None:
    clock = Clock(tmp_path)
    clock.set("-24h")
    # signed messages have the time
    with signed(program, free_port, tmp_path, server, is_keyed=False, env=clock.environment) as stage:
        whole, serial = stage.sent(WHOLE), stage.agree()
        clock.set("+0h")
        serial = stage.agree(serial)
        assert stage.sent(WHOLE) == whole, stage.program.errors
        assert stage.sent(INCREMENTAL) >= 1
