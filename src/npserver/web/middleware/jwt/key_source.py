"""Where the keys of an issuer come from: the controller fetches or reads them, every process uses the last good ones.

Keys of a URL are kept in the store, so that a start does not depend on the issuer. A fetch that fails changes nothing.
A token with a key that is not known makes the controller fetch them before their time, at most every `MIN_REFRESH_S`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from npserver.errors import StoreError, reason_of
from npserver.runtime.context import PerProcess
from npserver.runtime.http_get import NoAnswer, Url, get
from npserver.runtime.pubsub import CONTROLLER
from npserver.tls.store import CERTIFICATES
from npserver.web.middleware.jwt.key_set import VerifyingKey, make_keys, public_keys

if TYPE_CHECKING:
    from npserver.runtime.context import Context
    from npserver.store.interface import Store

log = logging.getLogger("npserver.http")

WANTED = "jwt:wanted"  # told to the controller: the id of a source whose keys lack one
MIN_REFRESH_S = 10.0  # between two fetches because of unknown keys, also of one worker's questions
FIRST_RETRY_S = 2.0  # after a fetch that failed; doubled each time, up to `refresh`
FILE_PERIOD_S = 1.0  # between two looks at a file


class Place(Struct, frozen=True):
    """Where keys are: a URL or an absolute path."""

    url: Url | None
    path: str
    shown: str  # for messages: of a URL no more than its host, as the rest may hold a secret

    @property
    def id(self) -> str:
        """The name of the source in topics and in the store."""
        text = f"{self.url.address}{self.url.target}" if self.url is not None else self.path
        return hashlib.sha256(text.encode()).hexdigest()[:40]


class KeySource:
    """The keys of one place, as a process knows them."""

    __slots__ = ("_asked_at", "_context", "id", "keys")

    def __init__(self, context: Context, id: str) -> None:
        self._context = context
        self._asked_at = float("-inf")
        self.id = id
        self.keys: tuple[VerifyingKey, ...] = ()  # replaced, never changed; empty until they are known
        context.pubsub.subscribe(f"jwt:keys:{id}", self.take)

    def __repr__(self) -> str:
        return f"<KeySource {self.id[:8]} keys={len(self.keys)}>"

    def take(self, entries: Any) -> None:
        """Use these keys from now on."""
        self.keys = tuple(make_keys(entries))

    def ask(self) -> None:
        """Ask the controller to fetch the keys, because a token names one that is not known."""
        now = self._context.loop.time()
        if now - self._asked_at >= MIN_REFRESH_S:
            self._asked_at = now
            self._context.pubsub.tell(CONTROLLER, WANTED, self.id)


#: The sources of a process, by their ids.
SOURCES: PerProcess[dict[str, KeySource]] = PerProcess(lambda context: {})


def key_source(context: Context, place: Place) -> KeySource:
    """Return the source of a place, the same for all rules of a process."""
    sources = SOURCES.of(context)
    if place.id not in sources:
        sources[place.id] = KeySource(context, place.id)
    return sources[place.id]


class KeyWatch:
    """The service that keeps the keys of one place up to date, in the controller."""

    __slots__ = (
        "_context",
        "_key",
        "_max_bytes",
        "_place",
        "_problem",
        "_published",
        "_refresh_s",
        "_store",
        "_timeout_s",
        "_wanted",
    )

    def __init__(
        self,
        context: Context,
        place: Place,
        *,
        refresh_s: float,
        timeout_s: float,
        max_bytes: int,
        store: Store | None,
        key: str,
    ) -> None:
        self._context = context
        self._place = place
        self._refresh_s = refresh_s
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._store = store
        self._key = key  # of the config
        self._problem = ""  # of the last attempt, which has been logged
        self._published: list[dict[str, Any]] = []
        self._wanted = asyncio.Event()

    def __repr__(self) -> str:
        return f"<KeyWatch {self._place.shown}>"

    async def run(self) -> None:
        """Run until cancelled."""
        ends = self._context.pubsub.subscribe(WANTED, self._hear)
        try:
            if self._place.url is None:
                await self._watch_file()
            else:
                await self._fetch_again_and_again()
        finally:
            ends()

    def _hear(self, id: Any) -> None:
        if id == self._place.id:
            self._wanted.set()

    async def _fetch_again_and_again(self) -> None:
        await self._publish_stored()
        failures = 0
        while True:
            self._wanted.clear()
            failures = 0 if await self._fetch() else failures + 1
            wait_s = min(self._refresh_s, FIRST_RETRY_S * 2 ** min(failures - 1, 20)) if failures else self._refresh_s
            shortest_s = min(wait_s, MIN_REFRESH_S)
            await asyncio.sleep(shortest_s)
            try:
                async with asyncio.timeout(wait_s - shortest_s):
                    await self._wanted.wait()
            except TimeoutError:
                pass

    async def _fetch(self) -> bool:
        assert self._place.url is not None
        try:
            body = await get(self._place.url, timeout_s=self._timeout_s, max_bytes=self._max_bytes)
            entries = await asyncio.to_thread(public_keys, body)
        except (NoAnswer, ValueError) as error:
            self._tell(str(error))
            return False
        self._tell("")
        if self._publish(entries) and self._store is not None:
            try:
                await self._store.put(self._store_key, json.dumps(entries).encode())
            except StoreError as error:
                log.warning("the keys of %s cannot be kept: %s", self._place.shown, error)
        return True

    async def _watch_file(self) -> None:
        files = CERTIFICATES.of(self._context).files
        state = None
        while True:
            if (now := files.state(self._place.path)) != state:
                state = now
                try:
                    self._publish(await asyncio.to_thread(lambda: public_keys(files.read(self._place.path))))
                except OSError as error:
                    self._tell(reason_of(error))
                except ValueError as error:
                    self._tell(str(error))
                else:
                    self._tell("")
            await asyncio.sleep(FILE_PERIOD_S)

    async def _publish_stored(self) -> None:
        if self._store is None:
            return
        try:
            kept = await self._store.get(self._store_key)
            if kept is not None:
                self._publish(public_keys(b'{"keys": %b}' % kept))
        except StoreError as error:
            log.warning("the kept keys of %s cannot be used: %s", self._place.shown, error)
        except ValueError as error:
            log.warning("the kept keys of %s cannot be used: %s (store)", self._place.shown, error)

    @property
    def _store_key(self) -> str:
        return f"jwt/{self._place.id}"

    def _publish(self, entries: list[dict[str, Any]]) -> bool:
        """Tell all processes. Return whether these are other keys than before."""
        if entries == self._published:
            return False
        self._published = entries
        self._context.pubsub.publish(f"jwt:keys:{self._place.id}", entries)
        return True

    def _tell(self, problem: str) -> None:
        """Log what came of an attempt, unless it is the same as before."""
        if problem == self._problem:
            return
        self._problem = problem
        if problem:
            kept = "the last good ones stay" if self._published else "nobody comes in by them"
            log.warning("the keys of %s cannot be used, %s: %s (%s)", self._place.shown, kept, problem, self._key)
        else:
            log.info("the keys of %s can be used again (%s)", self._place.shown, self._key)
