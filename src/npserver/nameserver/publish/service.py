"""Finds out the addresses to publish, in the controller: looks at the interfaces, asks URLs, and tells all processes.

What was found last is kept in the store, and stays when something goes wrong.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from msgspec.structs import replace

from npserver.errors import StoreError
from npserver.nameserver.publish.asking import AskingError, ask
from npserver.nameserver.publish.serials import next_serials
from npserver.nameserver.publish.state import STATE, STORE_KEY, Published, decode, encode
from npserver.runtime.context import PerProcess
from npserver.runtime.public_addresses import GIVEN, KnownAddress, origin_of

if TYPE_CHECKING:
    from npserver.nameserver.publish.addresses import AddressSources
    from npserver.nameserver.publish.zones import Publication
    from npserver.runtime.context import Context
    from npserver.store.interface import Store

log = logging.getLogger("npserver.dns")

LOOK_S = 5.0  # between two looks at the interfaces
AGAIN_S = 60.0  # after a failure, until the URLs are asked again, unless `interval` is shorter

#: The addresses that the log has told of.
_TOLD: PerProcess[list[str]] = PerProcess(lambda context: [])


class PublishingService:
    """The service."""

    __slots__ = ("_ask_at", "_context", "_failure", "_is_told", "_kept", "_publication", "_sources", "_state", "_store",
                 "_store_failure")  # fmt: skip

    def __init__(self, context: Context, store: Store, publication: Publication, sources: AddressSources) -> None:
        self._context = context
        self._store = store
        self._publication = publication
        self._sources = sources
        self._state = Published()
        self._is_told = False  # whether the state was published
        self._kept: Published | None = None  # what the store has
        self._ask_at = 0.0  # in the loop's time
        self._failure = ""  # the last one logged
        self._store_failure = ""  # as well

    def __repr__(self) -> str:
        return f"<PublishingService {self._publication!r}>"

    async def run(self) -> None:
        """Run until cancelled."""
        self._state = await self._known()
        while True:
            await self.look()
            if self._sources.urls and self._context.loop.time() >= self._ask_at:
                await self.ask()
            await self._keep()
            pause_s = self._ask_at - self._context.loop.time() if self._sources.urls else LOOK_S
            await asyncio.sleep(min(LOOK_S, max(0.0, pause_s)))

    async def look(self) -> None:
        """Publish what the config and the interfaces say now."""
        before = self._state
        found = replace(before, **self._sources.look(before, self._context.wall_clock()))
        if self._is_told and not found.has_addresses_of(before):
            self._ask_at = 0.0  # another network: its public address may be another one too
        await self._publish(found)

    async def ask(self) -> None:
        """Ask for the addresses that nothing else gives; one that is not found anew stays."""
        sources, before = self._sources, self._state
        known = {one.version: one for one in before.public if one.source in sources.urls}
        versions = sources.to_ask_for(before.public)
        asked, failures = [], []
        for version in versions:
            one = known.get(version)
            url, address, failure = await self._ask_all(version)
            if not address:
                failures.append((one, failure))
            elif one is None or one.address != address:
                one = KnownAddress(address, url, self._context.wall_clock())
            asked += [] if one is None else [one]
        is_good = len(failures) < len(versions) or not versions
        self._log_failures([(one, text) for one, text in failures if one is not None or not is_good])
        pause_s = sources.interval_s if is_good else min(sources.interval_s, AGAIN_S)
        self._ask_at = self._context.loop.time() + pause_s
        rest = [one for one in before.public if one.source not in sources.urls]
        await self._publish(replace(before, public=(*rest, *asked)))

    async def _ask_all(self, version: int) -> tuple[str, str, str]:
        """Return the first URL that gives an address, and the address; "" with the reasons if none does."""
        reasons = []
        for url in self._sources.urls:
            try:
                return url, await ask(url, version, self._sources.timeout_s), ""
            except AskingError as error:
                reasons.append(f"{origin_of(url)} over IPv{version}: {error}")
                log.debug("%s (public_address.ask)", reasons[-1])
        return "", "", "; ".join(reasons)

    async def _known(self) -> Published:
        """Return what the processes know at present."""
        try:
            self._kept = decode(await self._store.get(STORE_KEY))
        except StoreError as error:
            log.warning("published addresses of the last run are not known (store): %s", error)
            self._kept = None
        told, built = STATE.of(self._context).value, self._publication.known
        return told or (built[0] if built is not None else Published())

    async def _publish(self, found: Published) -> None:
        """Tell all processes of a state, with serials that have risen where the content of a zone has changed."""
        if self._is_told and found == self._state:
            return
        serials = next_serials(found.serials, *await self._content(found), self._context.wall_clock())
        found = replace(found, serials=serials)
        self._state, self._is_told = found, True
        told = STATE.of(self._context)
        if found != told.value:
            told.publish(found)
        self._log_addresses(found)

    async def _content(self, found: Published) -> tuple[dict[str, int], dict[str, int]]:
        """Return the digests of the zones, and the serials that the config gives."""
        built = self._publication.known
        if built is not None and built[0].has_addresses_of(found):
            return built[1], built[2]
        zones = await asyncio.to_thread(self._publication.build, found, {})
        self._publication.known = found, zones.digests, zones.given
        return zones.digests, zones.given

    async def _keep(self) -> None:
        """Store the state, if that is not what the store has; it is tried again until it succeeds."""
        kept = replace(self._state, private=())
        if kept == self._kept:
            return
        failure = ""
        try:
            await self._store.put(STORE_KEY, encode(kept))
            self._kept = kept
        except StoreError as error:
            failure = str(error)
        if failure and failure != self._store_failure:
            log.warning("published addresses and serials are not kept over a restart (store): %s", failure)
        self._store_failure = failure

    def _log_addresses(self, found: Published) -> None:
        told = _TOLD.of(self._context)
        shown = [f"{one.address} ({_source(one)})" for one in found.public]
        if shown != told:
            before = (
                f", no longer {', '.join(one.partition(' ')[0] for one in told if one not in shown)}" if told else ""
            )
            log.info("public address: %s%s", ", ".join(shown) or "none is known (public_address)", before)
            told[:] = shown

    def _log_failures(self, failures: list[tuple[KnownAddress | None, str]]) -> None:
        """Log what went wrong, once for each reason. Having no IPv6 is none where IPv4 gives an address."""
        text = "; ".join([text for _, text in failures])
        if text and text != self._failure:
            stays = ", ".join([one.address for one, _ in failures if one is not None])
            log.warning(
                "public address not found: %s; %s (public_address.ask)",
                text, f"{stays} stays published" if stays else "none is published",
            )  # fmt: skip
        self._failure = text


def _source(one: KnownAddress) -> str:
    """Return the config key that an address is by, for the log."""
    if one.source == GIVEN:
        return "public_address"
    return f"public_address{'.ask' if '://' in one.source else ''}: {one.shown_source}"
