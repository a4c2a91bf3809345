"""A database of countries or autonomous systems in MaxMind's format, as a set of addresses.

It is read into memory: a file that is mapped would end the process when another program writes over it. The library is
imported only where a config names a database.
"""

from __future__ import annotations

from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from npserver.networks import plain_ip

if TYPE_CHECKING:
    from maxminddb.reader import Reader

MAX_CACHED_ADDRESSES = 4096
_LATEST = 253_402_300_800  # the year 10,000, in seconds since 1970
_UNNAMED = " (<<class '_io.BytesIO'>>)"  # the library's name for what it reads


class Database:
    """The addresses of some countries, continents or autonomous systems. `"192.0.2.7" in database` is cached.

    Attributes: `built_at` (seconds since 1970; 0 if it does not say), `size` (nodes of its tree), `stamp` (a text that
    tells its data from other data).
    """

    __slots__ = ("_asns", "_cache", "_continents", "_countries", "_reader", "built_at", "size", "stamp")

    def __init__(
        self, reader: Reader, stamp: str, countries: frozenset[str], continents: frozenset[str], asns: frozenset[int]
    ) -> None:
        self._reader = reader
        self._countries = countries
        self._continents = continents
        self._asns = asns
        self._cache: dict[str, bool] = {}
        self.stamp = stamp
        metadata = reader.metadata()
        built_at = float(metadata.build_epoch)
        self.built_at = built_at if 0 < built_at < _LATEST else 0.0
        self.size = int(metadata.node_count)

    def __repr__(self) -> str:
        return f"<Database of {self.size} nodes>"

    def __contains__(self, ip: str) -> bool:
        """Return whether the record of an address is one of those chosen; False if there is none."""
        known = self._cache.get(ip)
        if known is not None:
            return known
        if len(self._cache) >= MAX_CACHED_ADDRESSES:
            self._cache.clear()
        found = self._cache[ip] = self._look_up(ip)
        return found

    def _look_up(self, ip: str) -> bool:
        try:
            record: Any = self._reader.get(plain_ip(ip))
        except Exception:  # an address of a Unix socket, IPv6 in a database of IPv4, a record that is damaged
            return False
        if not isinstance(record, dict):
            return False
        return (
            _code(record, "country") in self._countries
            or _code(record, "continent") in self._continents
            or _asn(record) in self._asns
        )


class Databases:
    """The databases of a process, by their data: names that choose from the same one share it."""

    __slots__ = ("_readers",)

    def __init__(self) -> None:
        self._readers: WeakValueDictionary[str, Reader] = WeakValueDictionary()

    def choose(
        self, data: bytes, countries: frozenset[str], continents: frozenset[str], asns: frozenset[int]
    ) -> Database:
        """Return the part of a database that is chosen. Raises: ValueError if the data is none."""
        stamp = sha256(data).hexdigest()
        try:
            reader = self._readers.get(stamp)
            if reader is None:
                reader = self._readers[stamp] = _open(data)
            return Database(reader, stamp, countries, continents, asns)
        except Exception as error:  # the library checks little of what it reads
            raise ValueError(str(error).replace(_UNNAMED, "") or type(error).__name__) from None


def _open(data: bytes) -> Reader:
    import maxminddb

    reader = maxminddb.open_database(BytesIO(data), maxminddb.MODE_FD)
    reader.get("0.0.0.0")
    return reader


def _code(record: dict[str, Any], kind: str) -> str:
    """Return the code of a country or continent, as the databases of several makers have it."""
    found = record.get(kind)
    if isinstance(found, dict):
        found = found.get("iso_code", found.get("code"))
    elif (code := record.get(f"{kind}_code")) is not None:
        found = code
    return found.upper() if isinstance(found, str) else ""


def _asn(record: dict[str, Any]) -> int:
    found = record.get("autonomous_system_number", record.get("asn"))
    if isinstance(found, str):
        found = found.upper().removeprefix("AS")
        return int(found) if found.isdigit() and len(found) < 11 else -1
    return found if isinstance(found, int) else -1
