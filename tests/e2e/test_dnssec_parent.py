"""A roll-over of the program whose parent is a real Knot: the former key goes when that has the new DS record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dns.message
import dns.query
import pytest

from npserver.cli.dns import main
from tests.e2e.test_dns_transfers import SECRET
from tests.e2e.test_dnssec_program import config
from tests.stage.clock import Clock
from tests.stage.program import Program
from tests.stage.programs import needs
from tests.stage.zone_servers import ZoneServer, running

Start = Callable[..., Program]
ZONE = "sub.example.com"
PARENT = """$ORIGIN example.com.
$TTL 300
@ SOA ns host {} 3600 600 604800 300
@ NS ns
ns A 192.0.2.1
sub NS ns.elsewhere.net.
"""


def keys(port: int) -> int:
    reply = dns.query.tcp(dns.message.make_query(ZONE, "DNSKEY"), "127.0.0.1", port=port, timeout=20)
    return len(reply.answer[0])


def give(parent: ZoneServer, serial: int, *ds: str) -> None:
    """Have the parent serve these DS records."""
    parent.reload(PARENT.format(serial) + "\n".join(ds) + "\n")
    parent.wait_for(serial)


@needs("knotd")
def test_a_key_goes_when_the_parent_has_its_successor(
    program: Start, free_port: Callable[[], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port, parent_port, clock = free_port(), free_port(), Clock(tmp_path)
    zone = {"name": ZONE, "dnssec": {"parent": [f"127.0.0.1:{parent_port}"]}}
    wanted = config(port, tmp_path / "store", [zone], {ZONE: {"NS": "ns.elsewhere.net"}})

    def start(offset: str) -> Program:
        clock.set(offset)
        return program(config=wanted, env=clock.environment)

    def ds(one: Program) -> str:
        capsys.readouterr()
        assert main(["ds", ZONE, "-config", str(one.config_file)]) == 0
        return next(line for line in capsys.readouterr().out.splitlines() if " DS " in line)

    with running("knotd", tmp_path / "parent", parent_port, port, SECRET, PARENT.format(1)) as parent:
        parent.wait_for(1)
        one = start("+0h")
        one.wait_for("a new key is published")
        first = ds(one)
        give(parent, 2, first)
        one.stop()

        one = start("+48h")
        one.wait_for("the parent says: 127.0.0.1:.* has the DS record of key")
        roll = ["roll", ZONE, "-config", str(one.config_file)]
        one.wait_until(lambda: main(roll) == 0, "what the parent says in the store")
        one.wait_for("a new key is published")  # workers serve it at once; from here on its time counts
        one.wait_until(lambda: keys(port) == 2, "the new key")
        one.stop()

        one = start("+52h")
        one.wait_for("the parent says: 127.0.0.1:.* has no DS record of key")
        assert keys(port) == 2
        give(parent, 3, first, ds(one))
        one.stop()

        one = start("+400h")
        one.wait_for("the parent says: 127.0.0.1:.* has the DS record of key")
        assert keys(port) == 2
        one.stop()

        one = start("+450h")
        one.wait_for("the former key goes")
        one.wait_until(lambda: keys(port) == 1, "the new key alone")
