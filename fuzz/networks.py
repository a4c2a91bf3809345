"""Fuzzes networks from data, lists and databases: `make fuzz ARGS="networks --seconds 60"`.

Oracle: a list is networks or refused with a reason; a list that is stored is the same when it is read again. A database
is refused with a reason, or answers for any address.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from tempfile import TemporaryDirectory

from fuzz.driver import run
from npserver.network_sets.database import Databases
from npserver.network_sets.source import NetworksSource, parse_list
from npserver.network_sets.stored import decode, encode
from npserver.sources.source import DataError
from tests.stage.countries import country, write_countries

LIST = NetworksSource("url", "https://example.net/", 1 << 20, max_networks=1000)
ADDRESSES = ("127.0.0.1", "2001:db8::1", "255.255.255.255", "::", "unix:", "")


def database() -> bytes:
    """Return a small database."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "seed.mmdb"
        write_countries(path, {"127.0.0.0/24": {**country("DE"), "asn": "AS64500"}, "2001:db8::/32": country("AT")})
        return path.read_bytes()


def target(data: bytes) -> None:
    """One input."""
    with contextlib.suppress(DataError):
        networks = parse_list(data, LIST)
        assert networks
        assert decode(encode(networks, 1.0), LIST) == (networks, 1.0)
    with contextlib.suppress(ValueError):
        found = Databases().choose(data, frozenset({"DE"}), frozenset({"EU"}), frozenset({64500}))
        for address in ADDRESSES:
            assert (address in found) in (True, False)


if __name__ == "__main__":
    run(target, [b"192.0.2.0/24\n# a\n2001:db8::/32 ; x\n", b"::ffff:192.0.2.1", database()])
