"""Where the networks of a name come from, and how their data is read. `network_sets.sets` keeps what was read.

Blocking: called while a config is compiled, and in threads.
"""

from __future__ import annotations

import os
from hashlib import sha256
from ipaddress import collapse_addresses
from typing import Protocol

from msgspec import Struct

from npserver.errors import NpserverError, clip, reason_of
from npserver.network_sets.database import Database, Databases
from npserver.network_sets.states import DATA_TOPICS
from npserver.networks import Network, parse_network
from npserver.runtime.context import PerProcess
from npserver.runtime.public_addresses import origin_of

COMMENTS = "#;"


class DataError(NpserverError):
    """Data that cannot be used. The message is for the operator."""


class SuppliedFiles(Protocol):
    """Contents that the master supplies to processes that may not read the files (`tls.files`)."""

    used: set[str]

    def is_supplied(self, file: str, /) -> bool:
        """Whether the contents of a file were supplied."""

    def read(self, file: str, /) -> bytes:
        """Return the content of a file."""

    def state(self, file: str, /) -> tuple[int, int, int]:
        """Return modification time, inode and size of a file."""


#: Those of a process; None: it reads the files itself.
SUPPLIED: PerProcess[SuppliedFiles | None] = PerProcess(lambda _: None)


class Source(Struct, frozen=True):
    """Where the networks come from."""

    kind: str  # "file", "url" or "mmdb"
    place: str  # the path of a file, or a URL
    max_bytes: int
    max_networks: int = 0
    countries: frozenset[str] = frozenset()
    continents: frozenset[str] = frozenset()
    asns: frozenset[int] = frozenset()
    refresh_s: float = 0.0
    timeout_s: float = 0.0

    @property
    def digest(self) -> str:
        """A name for what is read."""
        return sha256(f"{self.kind}\0{self.place}".encode()).hexdigest()[:32]

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

    @property
    def shown(self) -> str:
        """The place for people: of a URL no more than its host, as the rest may hold a secret."""
        return origin_of(self.place) if self.kind == "url" else self.place


class FileStamp(Struct, frozen=True):
    """The state of a file, to see whether it has changed."""

    modified_ns: int
    inode: int
    size: int

    @property
    def modified_at(self) -> float:
        """When it was last written, in seconds since 1970."""
        return self.modified_ns / 1e9


def read_file(source: Source, files: SuppliedFiles | None = None) -> tuple[FileStamp, bytes]:
    """Return the content of a file. Raises: DataError.

    `files`: supplied by the master, for a process that may not read the file; only what is still in the file counts.
    """
    try:
        with open(source.place, "rb") as file:
            status = os.fstat(file.fileno())
            stamp = FileStamp(status.st_mtime_ns, status.st_ino, status.st_size)
            data = file.read(source.max_bytes + 1)
    except PermissionError as error:
        found = stamp_of(source, files)
        if found is None or files is None or found != _supplied_stamp(source, files):
            reason = f"{reason_of(error)}: let the user of the server read it"
            raise DataError(f"cannot read {clip(source.place)}: {reason}") from None
        stamp, data = found, files.read(source.place)
    except OSError as error:
        raise DataError(f"cannot read {clip(source.place)}: {reason_of(error)}") from None
    if len(data) > source.max_bytes:
        raise DataError(f"{clip(source.place)} has more than {source.max_bytes} bytes (max_size)")
    return stamp, data


def stamp_of(source: Source, files: SuppliedFiles | None = None) -> FileStamp | None:
    """Return the state of a file; None if there is none. `files`: see `read_file`."""
    try:
        found = os.stat(source.place)
    except PermissionError:  # of the directory
        return _supplied_stamp(source, files)
    except OSError:
        return None
    return FileStamp(found.st_mtime_ns, found.st_ino, found.st_size)


def _supplied_stamp(source: Source, files: SuppliedFiles | None) -> FileStamp | None:
    if files is None or not files.is_supplied(source.place):
        return None
    return FileStamp(*files.state(source.place))


def parse_list(data: bytes, source: Source) -> tuple[Network, ...]:
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


def parse_database(databases: Databases, data: bytes, source: Source) -> Database:
    """Return the part of a database that is chosen. Raises: DataError."""
    try:
        return databases.choose(data, *source.choice)
    except ValueError as error:
        raise DataError(f"{clip(source.place)} is not a database in MaxMind's format: {error}") from None
