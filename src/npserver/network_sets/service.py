"""Keeps the networks that come from data up to date, in the controller: fetches URLs, watches files, tells all."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from npserver.errors import StoreError
from npserver.network_sets.database import Database
from npserver.network_sets.sets import DataSet, database_message
from npserver.network_sets.source import parse_database, parse_list
from npserver.network_sets.states import forget
from npserver.network_sets.stored import encode
from npserver.networks import Networks
from npserver.sources.following import Following
from npserver.sources.source import SUPPLIED, FileStamp
from npserver.sources.states import NETWORKS, SetState, publish_states

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.runtime.context import Context
    from npserver.store.interface import Store

log = logging.getLogger("npserver.server")

#: What was read: the networks of a list, or a database and what to publish of it.
Found = tuple[Any, ...] | tuple[Database, dict[str, Any]]


class NetworkService(Following[DataSet, Found]):
    """The service."""

    missing = "there are none yet: no address is in it"

    def __init__(self, context: Context, store: Store | None, sets: Sequence[DataSet]) -> None:
        super().__init__(context, sets, SUPPLIED.of(context))
        self._store = store

    async def run(self) -> None:
        """Run until cancelled."""
        forget(self.context.pubsub, frozenset([one.source.topic for one in self.followed]))
        for one in self.followed:
            if one.at and one.source.kind == "url":
                self._publish(one)
        self.tell()
        await self.follow()

    def parse(self, one: DataSet, data: bytes, stamp: FileStamp | None) -> Found:
        """Read a list or a database. Raises: DataError."""
        if one.source.kind != "mmdb":
            return parse_list(data, one.source)
        found = parse_database(one.databases, data, one.source)
        return found, database_message(found, data, stamp.modified_at if stamp is not None else 0.0)

    async def take(self, one: DataSet, found: Found, at: float) -> None:
        """Put what was read in force everywhere, and keep the list of a URL."""
        if one.source.kind == "mmdb":
            self._use_database(one, *found)
        elif one.source.kind == "url":
            await self._take_url(one, found, at)
        else:
            is_new = self._is_new(one, found)
            one.use_list(found, at)
            self._publish(one)
            self._log_file(one, is_new=is_new)
        self.tell()

    def tell(self) -> None:
        """Publish the states of all."""
        states = [
            SetState(one.name, one.source.shown, one.size, one.at, self.errors.get(one.key, ""))
            for one in self.followed
        ]
        publish_states(self.context.pubsub, NETWORKS, states)

    async def _take_url(self, one: DataSet, networks: tuple[Any, ...], at: float) -> None:
        if self._is_new(one, networks):
            one.use_list(networks, at)
            self._publish(one)
            log.info("%s: %d networks from %s (%s)", one.key, one.size, one.source.shown, one.source_key)
        one.at = at
        self.tell()
        if self._store is not None:
            try:
                await self._store.put(one.source.store_key, encode(networks, at))
            except StoreError as error:
                log.warning("%s: the list cannot be kept over a restart: %s", one.key, error)

    def _use_database(self, one: DataSet, found: Database, message: dict[str, Any]) -> None:
        before = one.at, one.size
        one.use_database(found, message["at"])
        pubsub = self.context.pubsub
        known = pubsub.latest.get(one.source.topic)
        if known is None or known["stamp"] != message["stamp"]:  # of another name with the same database
            pubsub.publish(one.source.topic, message)
        self._log_file(one, is_new=before != (one.at, one.size))

    @staticmethod
    def _is_new(one: DataSet, networks: tuple[Any, ...]) -> bool:
        return not isinstance(one.current, Networks) or set(networks) != set(one.current.networks)

    @staticmethod
    def _log_file(one: DataSet, *, is_new: bool) -> None:
        if is_new:
            log.info("%s has changed and was loaded, %d entries (%s)", one.source.shown, one.size, one.source_key)

    def _publish(self, one: DataSet) -> None:
        stamp = f"{one.at} {one.size} {self.context.wall_clock()}"
        self.context.pubsub.publish(one.source.topic, one.list_message(stamp))
