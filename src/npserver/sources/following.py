"""Keeps data from files and URLs up to date, in the controller: fetches URLs, watches files.

Data that cannot be used changes nothing; the log says so once, and the status page as long as it is so.
"""

from __future__ import annotations

import asyncio
import logging
from time import gmtime, strftime
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from npserver.runtime.http_get import NoAnswer, get, parse_url
from npserver.sources.source import DataError, FileStamp, Source, SuppliedFiles, read_file, stamp_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.runtime.context import Context

log = logging.getLogger("npserver.server")

LOOK_S = 2.0  # between two looks at the files
AGAIN_S = 60.0  # after a failure, until a URL is asked again, unless `refresh` is shorter


class Followed(Protocol):
    """Something that comes from data."""

    @property
    def source(self) -> Source:
        """Where the data comes from."""

    @property
    def at(self) -> float:
        """When the data in force was written, built or fetched, in seconds since 1970; 0: there is none yet."""

    @property
    def key(self) -> str:
        """Where it stands in the config, such as networks.cdn."""

    @property
    def section_key(self) -> str:
        """The key of the section that has its limits."""

    @property
    def source_key(self) -> str:
        """The key that names the file or the URL, such as networks.cdn.url."""


One = TypeVar("One", bound=Followed)
Found = TypeVar("Found")


class Following(Generic[One, Found]):
    """The part of a service that is the same for all kinds of data. A kind overrides `parse`, `take` and `tell`."""

    missing = "there is none yet"  # what the log says as long as there is no data
    at_once = 4  # so many are fetched, or read, at the same time

    def __init__(self, context: Context, followed: Sequence[One], files: SuppliedFiles | None = None) -> None:
        self.context = context
        self.followed = followed
        self.errors: dict[str, str] = {}  # why the data in force is not newer, by key
        self._files = files
        self._turns = asyncio.Semaphore(self.at_once)
        self._stamps: dict[str, FileStamp | None] = {}  # of files as they were last looked at

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(one.key for one in self.followed)}>"

    # ── what a kind of data overrides ──

    def parse(self, one: One, data: bytes, stamp: FileStamp | None) -> Found:
        """Read data, in a thread. `stamp`: of the file; None for a URL. Raises: DataError."""
        raise NotImplementedError

    async def take(self, one: One, found: Found, at: float) -> None:
        """Put what was read in force in all processes, and keep it."""
        raise NotImplementedError

    def tell(self) -> None:
        """Publish the states of all, as there is another error, or none any more."""
        raise NotImplementedError

    # ── the same for all ──

    async def follow(self) -> None:
        """Fetch and watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for one in self.followed:
                tasks.create_task(self._follow_url(one) if one.source.kind == "url" else self._watch(one))

    def is_known(self, one: One, stamp: FileStamp) -> bool:
        """Whether the data in force is that of a file in this state, so that it need not be read."""
        return False

    async def _follow_url(self, one: One) -> None:
        source, clock = one.source, self.context.wall_clock
        if one.at:
            await asyncio.sleep(min(max(0.0, one.at + source.refresh_s - clock()), source.refresh_s))
        while True:
            try:
                found = await self._fetch(one)
            except DataError as error:
                self._fail(one, f"{source.shown}: {error}")
                pause_s = min(AGAIN_S, source.refresh_s)
            else:
                await self._take(one, found, clock())
                pause_s = source.refresh_s
            await asyncio.sleep(pause_s)

    async def _fetch(self, one: One) -> Found:
        """Return what a URL has. Raises: DataError."""
        source = one.source
        async with self._turns:
            try:
                body = await get(parse_url(source.place), timeout_s=source.timeout_s, max_bytes=source.max_bytes)
            except NoAnswer as error:
                key = "timeout" if error.is_late else "max_size" if error.is_long else ""
                raise DataError(f"{error} ({one.section_key}.{key})" if key else str(error)) from None
            return await asyncio.to_thread(self.parse, one, body, None)

    async def _watch(self, one: One) -> None:
        self._stamps[one.key] = None
        while True:
            stamp = stamp_of(one.source, self._files)
            if stamp != self._stamps[one.key] or (stamp is None and one.key not in self.errors):
                self._stamps[one.key] = stamp
                if stamp is None or not self.is_known(one, stamp):
                    await self._reread(one)
            await asyncio.sleep(LOOK_S)

    async def _reread(self, one: One) -> None:
        try:
            async with self._turns:
                at, found = await asyncio.to_thread(self._read, one)
        except DataError as error:
            self._fail(one, str(error))
        else:
            await self._take(one, found, at)

    def _read(self, one: One) -> tuple[float, Found]:
        """Return the date and the content of a file that has changed; in a thread. Raises: DataError."""
        stamp, data = read_file(one.source, self._files)
        return stamp.modified_at, self.parse(one, data, stamp)

    async def _take(self, one: One, found: Found, at: float) -> None:
        self.errors.pop(one.key, None)
        await self.take(one, found, at)

    def _fail(self, one: One, error: str) -> None:
        if self.errors.get(one.key) != error:
            if one.at:
                when = strftime("%Y-%m-%d %H:%M UTC", gmtime(one.at))
                stays = f"those of {when} stay in force"
            else:
                stays = self.missing
            log.warning("%s: %s; %s (%s)", one.key, error, stays, one.source_key)
        self.errors[one.key] = error
        self.tell()
