"""Fuzzes zone files (RFC 1035 §5): `make fuzz ARGS="zone_file --seconds 60"`.

Oracle: a file is refused with its place, or its records can be served: tables are made of them, each name is found, and
the whole zone is transferred and read again by dnspython.
"""

from __future__ import annotations

import contextlib

import dns.message

from fuzz.driver import run
from npserver.dns.message.name import parse_owner
from npserver.dns.message.query import Query, make_question, parse_query
from npserver.dns.zone.compile import Settings, compile_tables
from npserver.dns.zone.lookup import find, look_up
from npserver.dns.zone.transfer import transfer
from npserver.nameserver.zones.zone_file import ZoneFileError, read_zone_file
from npserver.sources.source import DataError

APEX = parse_owner("example.com")
SEEDS = [
    b'$TTL 1h\n@ SOA ns1 h 1 1h 10m 1w 2m\n@ NS ns1\nns1 A 192.0.2.1\n*.w TXT "a" b ; c\nwww CNAME @\n',
    b"$ORIGIN example.com.\n@ 60 IN SOA ns. h. ( 1\n 2 3 4 5 )\n_s._tcp SRV 0 0 1 a\na.b MX 5 c\nc NS d\n",
    b"@ 5 SOA . . 1 1 1 1 1\n$GENERATE 1-9/2 h$ A 10.0.0.$\nt TLSA 3 1 1 0a\nx TYPE65280 \\# 2 0a0b\n",
    b"@ 5 SOA . . 1 1 1 1 1\n@ NS a\nd DNAME e.f\nx.e.f TXT x\nl LOC 52 22 23.0 N 4 53 32.0 E -2.00m 0m 1m 1m\n",
    b'@ 5 SOA . . 1 1 1 1 1\n$INCLUDE "more" sub\n$INCLUDE more\n',
]
MORE = b"in A 10.0.0.1\n$ORIGIN x\ny PTR z\n"


def target(data: bytes) -> None:
    """One input."""

    def read(path: str) -> bytes:
        if path == "zone":
            return data
        if path == "more":
            return MORE
        raise DataError(f"cannot read {path}")

    try:
        records = read_zone_file("zone", APEX, read)
    except ZoneFileError as error:
        assert str(error)
        return
    tables = compile_tables({}, Settings(300, [APEX], contents={APEX: records.sets}), lambda path, message: None)
    for name, sets in records.sets.items():
        assert find(tables, name)[1] is not None
        for rtype in sets:
            look_up(tables, name, rtype)
    query = parse_query(make_question(1, APEX, 252))
    assert isinstance(query, Query)
    for message in transfer(tables, query, ()):
        with contextlib.suppress(dns.exception.DNSException, ValueError):  # data that dnspython reads from text alone
            dns.message.from_wire(message, xfr=True)


if __name__ == "__main__":
    run(target, SEEDS)
