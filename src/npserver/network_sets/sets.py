"""The networks of each name that come from data, in one process: what is in force, and what the controller tells of it.

The controller reads files and URLs (`network_sets.service`) and publishes what is good, databases whole: a process that
starts later has what is in force, whatever the file holds by then. Data that cannot be used changes nothing.
"""

from __future__ import annotations

import logging
import zlib
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

from npserver.network_sets.database import Database, Databases
from npserver.network_sets.source import NetworksSource, parse_database
from npserver.networks import Networks, NetworkSet, parse_network
from npserver.runtime.context import PerProcess
from npserver.sources.source import DataError

if TYPE_CHECKING:
    from npserver.runtime.context import Context

log = logging.getLogger("npserver.server")


class DataSet(NetworkSet):
    """The networks of one source."""

    __slots__ = ("_stamp", "at", "databases", "size", "source")

    def __init__(self, name: str, source: NetworksSource, databases: Databases) -> None:
        super().__init__(name)
        self.source = source
        self.databases = databases
        self.at = 0.0
        self.size = 0
        self._stamp: Any = None  # of the data in force

    @property
    def key(self) -> str:
        """Where it stands in the config."""
        return f"networks.{self.name}"

    @property
    def section_key(self) -> str:
        """The key of the section that has its limits."""
        return self.key

    @property
    def source_key(self) -> str:
        """The key that names the file or the URL."""
        return f"networks.{self.name}.{self.source.kind}"

    def use_list(self, networks: tuple[Any, ...], at: float) -> None:
        """Put a list in force."""
        self.current = Networks(networks)
        self.size, self.at = len(networks), at

    def use_database(self, found: Database, at: float) -> None:
        """Put a database in force. `at`: its date, if it does not say when it was built."""
        self.current, self.size, self.at = found, found.size, found.built_at or at
        self._stamp = found.stamp

    def take(self, value: Any) -> None:
        """Use what the controller has published."""
        if not isinstance(value, dict) or value["stamp"] == self._stamp:
            return
        try:
            if self.source.kind == "mmdb":
                data = zlib.decompressobj().decompress(b64decode(value["data"]), self.source.max_bytes)
                self.use_database(parse_database(self.databases, data, self.source), float(value["at"]))
            else:
                self.use_list(tuple(map(parse_network, value["networks"])), float(value["at"]))
                self._stamp = value["stamp"]
        except DataError as error:
            log.warning("networks.%s: %s; those in force stay (networks.%s)", self.name, error, self.name)

    def list_message(self, stamp: str) -> dict[str, Any]:
        """Return what to publish of the list in force; `stamp`: what tells it from others."""
        assert isinstance(self.current, Networks)
        self._stamp = stamp
        return {"stamp": stamp, "at": self.at, "networks": [str(one) for one in self.current.networks]}


def database_message(found: Database, data: bytes, at: float) -> dict[str, Any]:
    """Return what to publish of a database, which was made of `data`; it takes a moment."""
    return {"stamp": found.stamp, "at": at, "data": b64encode(zlib.compress(data, 1)).decode("ascii")}


class DataSets:
    """Those of a process. A set lives on over reloads that keep its source."""

    def __init__(self, context: Context) -> None:
        self._pubsub = context.pubsub
        self._databases = Databases()
        self._sets: dict[tuple[object, ...], DataSet] = {}

    def find(self, name: str, source: NetworksSource) -> DataSet:
        """Return the set of a name, which follows what the controller publishes."""
        key = name, source.digest, source.choice
        found = self._sets.get(key)
        if found is None:
            found = self._sets[key] = DataSet(name, source, self._databases)
            self._pubsub.subscribe(source.topic, found.take)
        found.source = source  # limits may have changed
        return found


#: The sets of a process.
SETS = PerProcess(DataSets)
