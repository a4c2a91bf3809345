"""Keeps the networks that come from data up to date, in the controller: fetches URLs, watches files, tells all.

Data that cannot be used changes nothing; the log says so once, and the status page as long as it is so.
"""

from __future__ import annotations

import asyncio
import logging
from time import gmtime, strftime
from typing import TYPE_CHECKING, Any

from npserver.errors import StoreError
from npserver.network_sets.sets import DataSet, database_message
from npserver.network_sets.source import SUPPLIED, DataError, FileStamp, parse_database, parse_list, read_file, stamp_of
from npserver.network_sets.states import SetState, forget, publish_states
from npserver.network_sets.stored import encode
from npserver.networks import Networks
from npserver.runtime.http_get import NoAnswer, get, parse_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.network_sets.database import Database
    from npserver.runtime.context import Context
    from npserver.store.interface import Store

log = logging.getLogger("npserver.server")

LOOK_S = 2.0  # between two looks at the files
AGAIN_S = 60.0  # after a failure, until a URL is asked again, unless `refresh` is shorter


class NetworkService:
    """The service."""

    def __init__(self, context: Context, store: Store | None, sets: Sequence[DataSet]) -> None:
        self._context = context
        self._store = store
        self._sets = sets
        self._errors: dict[str, str] = {}  # by the name of a set
        self._stamps: dict[str, FileStamp | None] = {}  # of files as they were last looked at

    def __repr__(self) -> str:
        return f"<NetworkService {', '.join(one.name for one in self._sets)}>"

    async def run(self) -> None:
        """Run until cancelled."""
        forget(self._context.pubsub, frozenset([one.source.topic for one in self._sets]))
        for one in self._sets:
            if one.at and one.source.kind == "url":
                self._publish(one)
        self._tell()
        async with asyncio.TaskGroup() as tasks:
            for one in self._sets:
                tasks.create_task(self._follow_url(one) if one.source.kind == "url" else self._watch(one))

    # ── URLs ──

    async def _follow_url(self, one: DataSet) -> None:
        source, clock = one.source, self._context.wall_clock
        if one.at:
            await asyncio.sleep(min(max(0.0, one.at + source.refresh_s - clock()), source.refresh_s))
        while True:
            try:
                networks = await self._fetch(one)
            except DataError as error:
                self._fail(one, f"{source.shown}: {error}", "url")
                pause_s = min(AGAIN_S, source.refresh_s)
            else:
                await self._take(one, networks, clock())
                pause_s = source.refresh_s
            await asyncio.sleep(pause_s)

    async def _fetch(self, one: DataSet) -> tuple[Any, ...]:
        """Return the list of a URL. Raises: DataError."""
        source = one.source
        try:
            body = await get(parse_url(source.place), timeout_s=source.timeout_s, max_bytes=source.max_bytes)
        except NoAnswer as error:
            raise DataError(f"{error} (networks.{one.name}.timeout)" if error.is_late else str(error)) from None
        return await asyncio.to_thread(parse_list, body, source)

    async def _take(self, one: DataSet, networks: tuple[Any, ...], at: float) -> None:
        """Put a list in force everywhere, and keep it."""
        is_new = not isinstance(one.current, Networks) or set(networks) != set(one.current.networks)
        if is_new:
            one.use_list(networks, at)
            self._publish(one)
            log.info(
                "networks.%s: %d networks from %s (networks.%s.url)", one.name, one.size, one.source.shown, one.name
            )
        one.at = at
        self._errors.pop(one.name, None)
        self._tell()
        if self._store is not None:
            try:
                await self._store.put(one.source.store_key, encode(networks, at))
            except StoreError as error:
                log.warning("networks.%s: the list cannot be kept over a restart: %s", one.name, error)

    # ── files ──

    async def _watch(self, one: DataSet) -> None:
        self._stamps[one.name] = None
        files = SUPPLIED.of(self._context)
        while True:
            stamp = stamp_of(one.source, files)
            if stamp != self._stamps[one.name] or (stamp is None and one.name not in self._errors):
                self._stamps[one.name] = stamp
                await asyncio.to_thread(self._reread, one)
            await asyncio.sleep(LOOK_S)

    def _reread(self, one: DataSet) -> None:
        """Read a file that has changed; in a thread, which ends with messages for the loop's."""
        source, loop = one.source, self._context.loop
        try:
            stamp, data = read_file(source, SUPPLIED.of(self._context))
            if source.kind == "mmdb":
                found = parse_database(one.databases, data, source)
                message = database_message(found, data, stamp.modified_at)
                loop.call_soon_threadsafe(self._use_database, one, found, message)
            else:
                networks = parse_list(data, source)
                loop.call_soon_threadsafe(self._use_list, one, networks, stamp.modified_at)
        except DataError as error:
            loop.call_soon_threadsafe(self._fail, one, str(error), source.kind)

    def _use_database(self, one: DataSet, found: Database, message: dict[str, Any]) -> None:
        before = one.at, one.size
        one.use_database(found, message["at"])
        pubsub = self._context.pubsub
        known = pubsub.latest.get(one.source.topic)
        if known is None or known["stamp"] != message["stamp"]:  # of another name with the same database
            pubsub.publish(one.source.topic, message)
        self._file_is_good(one, is_new=before != (one.at, one.size))

    def _use_list(self, one: DataSet, networks: tuple[Any, ...], at: float) -> None:
        is_new = not isinstance(one.current, Networks) or set(networks) != set(one.current.networks)
        one.use_list(networks, at)
        self._publish(one)
        self._file_is_good(one, is_new=is_new)

    def _file_is_good(self, one: DataSet, *, is_new: bool) -> None:
        self._errors.pop(one.name, None)
        if is_new:
            key = f"networks.{one.name}.{one.source.kind}"
            log.info("%s has changed and was loaded, %d entries (%s)", one.source.shown, one.size, key)
        self._tell()

    # ── what others are told ──

    def _publish(self, one: DataSet) -> None:
        stamp = f"{one.at} {one.size} {self._context.wall_clock()}"
        self._context.pubsub.publish(one.source.topic, one.list_message(stamp))

    def _fail(self, one: DataSet, error: str, key: str) -> None:
        if self._errors.get(one.name) != error:
            if one.at:
                when = strftime("%Y-%m-%d %H:%M UTC", gmtime(one.at))
                stays = f"those of {when} stay in force"
            else:
                stays = "there are none yet: no address is in it"
            log.warning("networks.%s: %s; %s (networks.%s.%s)", one.name, error, stays, one.name, key)
        self._errors[one.name] = error
        self._tell()

    def _tell(self) -> None:
        publish_states(
            self._context.pubsub,
            [
                SetState(one.name, one.source.shown, one.size, one.at, self._errors.get(one.name, ""))
                for one in self._sets
            ],
        )
