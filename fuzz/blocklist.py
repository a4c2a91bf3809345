"""Fuzzes block lists: `make fuzz ARGS="blocklist --seconds 60"`.

Oracle: a list is refused with a reason, or its table finds every name that a plain reading of its simple lines finds,
and finds nothing of names that no line has. No input takes long.
"""

from __future__ import annotations

import re
import time

from fuzz.driver import run
from npserver.dns.message.name import parse_owner
from npserver.dns.zone.public_suffix import is_registry
from npserver.nameserver.blocking.list_format import Action, ListReader
from npserver.nameserver.blocking.table import Table, build_table, hashes_of
from npserver.runtime.shared_file import SharedFile

SEEDS = [
    b"0.0.0.0 localhost\n0.0.0.0 ads.example\n127.0.0.1\ta.example b.example # c\r\n::1 c.example\n",
    b"[Adblock Plus 2.0]\n! t\n||ads.example^\n@@||good.ads.example^\n||x.example^$important\nexample.com##.a\n",
    b"ads.example\n*.b.example\n.c.example.\nb\xc3\xbccher.example\n||com^\n",
    b"$TTL 60\n$ORIGIN rpz.home.\n@ SOA a. b. (1 2 3\n 4 5 )\n  NS a.\na.example CNAME .\n*.a.example 60 IN CNAME *.\n",
    b"$ORIGIN rpz.home.\nb.example.rpz.home. CNAME rpz-passthru.\nc.example CNAME rpz-drop.\n1.rpz-ip CNAME .\n",
]
SIMPLE = re.compile(rb"(?:\|\|([a-z]{1,20}\.[a-z]{1,20}\.example)\^|0\.0\.0\.0 ([a-z]{1,20}\.[a-z]{1,20}\.example))")
ABSENT = ("never.listed.test", "a.b.c.d.never.test", "xn--never-listed.test")


def target(data: bytes) -> None:
    """One input."""
    began, file, reader = time.process_time(), SharedFile(), ListReader(100_000, is_registry)
    try:
        reader.read(data)
    except ValueError as error:
        assert str(error)
        return
    finally:
        assert time.process_time() - began < 2
    table = Table(file, build_table(file, reader.hashes).keep())
    assert 0 < table.layout.count <= reader.count
    assert all(len(one) < 400 for one in reader.remarks())
    if b"rpz" not in data and b"(" not in data and b"cname" not in data.lower():
        for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
            if (match := SIMPLE.fullmatch(line)) is not None:
                name = (match[1] or match[2]).decode()
                found = table.find(hashes_of(parse_owner(name)))
                assert found is not None, name
                assert found[0] in (Action.BLOCK, Action.EXCEPT)
    if b"test" not in data.lower():
        assert all(table.find(hashes_of(parse_owner(name))) is None for name in ABSENT)


if __name__ == "__main__":
    run(target, SEEDS)
