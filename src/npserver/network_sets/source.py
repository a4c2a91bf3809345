"""Where the networks of a name come from, and how their data is read. `network_sets.sets` keeps what was read."""

from __future__ import annotations

from ipaddress import collapse_addresses

from npserver.errors import clip
from npserver.network_sets.database import Database, Databases
from npserver.network_sets.states import DATA_TOPICS
from npserver.networks import Network, parse_network
from npserver.sources.source import DataError, Source

COMMENTS = "#;"


class NetworksSource(Source, frozen=True):
    """Where the networks come from."""

    max_networks: int = 0
    countries: frozenset[str] = frozenset()
    continents: frozenset[str] = frozenset()
    asns: frozenset[int] = frozenset()

    @property
    def choice(self) -> tuple[frozenset[str], frozenset[str], frozenset[int]]:
        """What is chosen of a database."""
        return self.countries, self.continents, self.asns

    @property
    def topic(self) -> str:
        """The topic of its data."""
        return DATA_TOPICS + self.digest

    @property
    def store_key(self) -> str:
        """The key of the last good list of a URL."""
        return f"networks/{self.digest}"


def parse_list(data: bytes, source: NetworksSource) -> tuple[Network, ...]:
    """Return the networks of a list: one per line, which `#` or `;` ends. Raises: DataError, if one line is wrong.

    An empty list is refused, as it would be that of a file that is just being written; so is one with all addresses.
    """
    found: dict[Network, None] = {}
    for number, line in enumerate(data.decode("utf-8-sig", "replace").splitlines(), 1):
        text = line
        for mark in COMMENTS:
            text = text.partition(mark)[0]
        if not (text := text.strip()):
            continue
        try:
            if not text.isascii() or "%" in text:
                raise ValueError("expected an address or a network such as 192.0.2.0/24, without a zone")
            network = parse_network(text)
        except ValueError as error:
            raise DataError(f"line {number} is not a network: {clip(text)}: {error}") from None
        if not network.prefixlen:
            raise DataError(f"line {number} is every address: {network}")
        found[network] = None
        if len(found) > source.max_networks:
            raise DataError(f"more than {source.max_networks} networks (max_networks)")
    if not found:
        raise DataError("the list has no networks")
    for version, bits in ((4, 32), (6, 128)):
        if _are_all([one for one in found if one.version == version], bits):
            raise DataError(f"its networks are every IPv{version} address together")
    return tuple(found)


def _are_all(networks: list[Network], bits: int) -> bool:
    """Return whether networks of one version are all of its addresses."""
    if sum(one.num_addresses for one in networks) < 1 << bits:
        return False  # quickly, as of all lists but bad ones
    return any(not one.prefixlen for one in collapse_addresses(networks))  # type: ignore[type-var]


def parse_database(databases: Databases, data: bytes, source: NetworksSource) -> Database:
    """Return the part of a database that is chosen. Raises: DataError."""
    try:
        return databases.choose(data, *source.choice)
    except ValueError as error:
        raise DataError(f"{clip(source.place)} is not a database in MaxMind's format: {error}") from None
