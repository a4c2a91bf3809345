"""Updates of a zone by BIND and by npserver, compared one by one (RFC 2136 §3): rcodes, and the zone afterwards.

Covers `nameserver.updates.zone`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import dns.message
import dns.rcode
import dns.update
import pytest

from npserver.dns.message.name import parse_owner
from npserver.dns.zone.content import Content, apply
from npserver.nameserver.updates.message import UpdateError, read_update
from npserver.nameserver.updates.zone import update
from npserver.nameserver.zones.overlay import changed_sets
from npserver.nameserver.zones.zone_file import read_zone_file
from tests.stage.bind_zone import BindZone
from tests.stage.ports import free_port
from tests.stage.programs import needs

pytestmark = needs("named")
APEX = parse_owner("example.com")
ZONE = """\
$TTL 300
@ SOA ns1 hostmaster 10 3600 600 604800 120
@ NS ns1.elsewhere.net.
@ NS ns2.elsewhere.net.
@ MX 10 mx
ns1 A 192.0.2.1
ns2 A 192.0.2.2
mx A 192.0.2.3
www CNAME mx
a A 192.0.2.4
a TXT "x"
deep.b A 192.0.2.5
"""
NAMES = ("@", "ns1", "www", "a", "b", "deep.b", "new", "x.new", "*.w")
RECORDS = (
    ("A", "192.0.2.4"), ("A", "192.0.2.9"), ("AAAA", "2001:db8::1"), ("TXT", '"x"'), ("TXT", '"y" "z"'),
    ("CNAME", "mx.example.com."), ("CNAME", "MX.Example.com."), ("NS", "ns1.Elsewhere.net."),
    ("NS", "ns3.elsewhere.net."),
    ("MX", "10 mx.example.com."), ("SOA", "ns1.example.com. h.example.com. 5 1 1 1 1"),
    ("SOA", "ns1.example.com. h.example.com. 4000 1 1 1 1"), ("SRV", "0 0 1 A.example.com."),
    ("DNAME", "a.example.com."), ("DNAME", "elsewhere.net."),
)  # fmt: skip
TYPES = ("A", "TXT", "CNAME", "NS", "SOA", "MX", "DNAME", "ANY")


def message_of(chance: random.Random) -> dns.update.UpdateMessage:
    """Return an update with a few prerequisites and changes."""
    made = dns.update.UpdateMessage("example.com")
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        name, (rtype, data) = chance.choice(NAMES), chance.choice(RECORDS)
        what = chance.randrange(5)
        if what == 0:
            made.present(name)
        elif what == 1:
            made.absent(name)
        elif what == 2:
            made.present(name, rtype)
        elif what == 3:
            made.absent(name, rtype)
        else:
            made.present(name, rtype, data)
    for _ in range(chance.randint(1, 4)):
        name, (rtype, data) = chance.choice(NAMES), chance.choice(RECORDS)
        if (name, rtype) == ("@", "DNAME"):
            continue  # BIND then refuses MX records, whose names are below it
        what = chance.randrange(6)
        if what < 3:
            made.add(name, chance.choice((60, 300)), rtype, data)
        elif what == 3:
            made.delete(name, rtype, data)
        elif what == 4:
            made.delete(name, chance.choice(TYPES[:-1]))
        else:
            made.delete(name)
    return made


@pytest.fixture
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BindZone]:
    server = BindZone(tmp_path_factory.mktemp("named"), free_port(), ZONE)
    yield server
    server.close()


def records(content: Content) -> dict[tuple[bytes, int], tuple[int, list[bytes]]]:
    return {(name, rtype): (ttl, sorted(one.lower() for one in data)) for name, sets in content.items()
            for rtype, (ttl, data) in sets.items()}  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_updates_do_what_bind_does(named: BindZone, seed: int) -> None:
    chance = random.Random(seed)
    content: Content = read_zone_file("zone", APEX, lambda _: ZONE.encode()).sets
    for turn in range(120):
        message = message_of(chance)
        reply = named.ask(message)
        rcode = 0
        try:
            names = update(content, APEX, read_update(message.to_wire()), lambda name, rtype: True)
            content = apply(content, changed_sets(content, names))
        except UpdateError as error:
            rcode = error.rcode
        assert dns.rcode.to_text(dns.rcode.Rcode(rcode)) == dns.rcode.to_text(reply.rcode()), (turn, str(message))
        zone = named.zone()
        theirs: Content = {}
        for name, node in zone.nodes.items():
            theirs[name.to_wire().lower()] = {
                int(one.rdtype): (one.ttl, tuple(rdata.to_wire() for rdata in one)) for one in node.rdatasets
            }
        assert records(content) == records(theirs), (turn, str(message))
